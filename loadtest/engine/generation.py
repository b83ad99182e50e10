"""``/v1/chat/completions`` and ``/v1/completions``, unary and streamed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from loadtest.engine import tokens
from loadtest.engine.answers import DONE, Answer, Asked, Unary
from loadtest.engine.batch import Work
from loadtest.engine.requests import (
    DEFAULT_OUTPUT_TOKENS,
    ChatRequest,
    CompletionRequest,
    GenerationRequest,
    check_model,
    decode,
    texts_of,
    tokens_of,
    tokens_of_messages,
)

FINGERPRINT = "vllm-0.32.0-simulate"
"""``system_fingerprint`` of every answer."""


def chat(asked: Asked) -> Answer:
    """Answer ``/v1/chat/completions``. Raises ``EngineError``."""
    request = decode(asked.body, asked.content_type, ChatRequest)
    request.check()
    check_model(request.model, asked.model)
    plan = _Plan.of(asked, request, tokens_of_messages(request.messages), choices=request.n or 1)
    if request.stream:
        return _GenerationStream(asked, plan, _ChatEvents(plan, logprobs=bool(request.logprobs)))
    return _unary_chat(asked, plan, logprobs=bool(request.logprobs))


def completion(asked: Asked) -> Answer:
    """Answer ``/v1/completions``. Raises ``EngineError``."""
    request = decode(asked.body, asked.content_type, CompletionRequest)
    request.check()
    check_model(request.model, asked.model)
    prompts = texts_of(request.prompt, "prompt")
    prompt_tokens = sum(tokens_of(each) for each in prompts)
    plan = _Plan.of(asked, request, prompt_tokens, choices=len(prompts) * (request.n or 1))
    if request.stream:
        return _GenerationStream(asked, plan, _CompletionEvents(plan))
    return _unary_completion(asked, plan)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What will be generated: so many choices of so many tokens each."""

    choices: int
    length: int
    finish_reason: str
    prompt_tokens: int
    final_usage: bool
    running_usage: bool
    piece_bytes: int

    @classmethod
    def of(cls, asked: Asked, request: GenerationRequest, prompt_tokens: int, *, choices: int) -> _Plan:
        limit = request.limit
        options = request.stream_options
        final = bool(options and options.include_usage)
        return cls(
            choices=choices,
            length=DEFAULT_OUTPUT_TOKENS if limit is None else limit,
            finish_reason="stop" if limit is None else "length",
            prompt_tokens=prompt_tokens,
            final_usage=final,
            running_usage=asked.faults.usage_on_every_event
            or (final and bool(options and options.continuous_usage_stats)),
            piece_bytes=asked.faults.event_bytes,
        )

    @property
    def work(self) -> Work:
        return Work(self.prompt_tokens, self.length)

    def usage(self, produced: int) -> dict[str, int]:
        """Return the counts with so many output tokens."""
        total = self.prompt_tokens + produced
        return {"prompt_tokens": self.prompt_tokens, "total_tokens": total, "completion_tokens": produced}

    def unary_usage(self) -> dict[str, Any]:
        """Return the counts at the end, with the empty details that unary answers have."""
        details = {"prompt_tokens_details": None, "completion_tokens_details": None}
        return self.usage(self.choices * self.length) | details


def _logprobs(index: int, size: int) -> dict[str, Any]:
    piece = tokens.piece(index, size)
    return {"token": piece, "logprob": -0.25, "bytes": list(piece.encode()), "top_logprobs": []}


def _unary_chat(asked: Asked, plan: _Plan, *, logprobs: bool) -> Unary:
    message = {
        "role": "assistant",
        "content": tokens.text(plan.length, plan.piece_bytes),
        "refusal": None,
        "annotations": None,
        "audio": None,
        "function_call": None,
        "reasoning": None,
    }
    content = [_logprobs(index, plan.piece_bytes) for index in range(plan.length)] if logprobs else None
    choices = [
        {
            "index": index,
            "message": message,
            "logprobs": {"content": content} if logprobs else None,
            "finish_reason": plan.finish_reason,
            "stop_reason": None,
            "token_ids": None,
            "routed_experts": None,
        }
        for index in range(plan.choices)
    ]
    answer = {
        "id": f"chatcmpl-{asked.id}",
        "object": "chat.completion",
        "created": asked.created,
        "model": asked.model,
        "choices": choices,
        "service_tier": None,
        "system_fingerprint": FINGERPRINT,
        "usage": plan.unary_usage(),
        "prompt_logprobs": None,
        "prompt_token_ids": None,
        "prompt_text": None,
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": None,
    }
    return Unary(msgspec.json.encode(answer), plan.work)


def _unary_completion(asked: Asked, plan: _Plan) -> Unary:
    choices = [
        {
            "index": index,
            "text": tokens.text(plan.length, plan.piece_bytes),
            "logprobs": None,
            "finish_reason": plan.finish_reason,
            "stop_reason": None,
            "token_ids": None,
            "prompt_logprobs": None,
            "prompt_token_ids": None,
            "routed_experts": None,
        }
        for index in range(plan.choices)
    ]
    answer = {
        "id": f"cmpl-{asked.id}",
        "object": "text_completion",
        "created": asked.created,
        "model": asked.model,
        "choices": choices,
        "service_tier": None,
        "system_fingerprint": FINGERPRINT,
        "usage": plan.unary_usage(),
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": None,
    }
    return Unary(msgspec.json.encode(answer), plan.work)


class _ChatEvents:
    """How a chat stream says things. Templates are bytes: a load test makes these events by the hundred thousand."""

    id_prefix = "chatcmpl"
    object = "chat.completion.chunk"
    opening = b'{"index":%d,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}'
    """The choice of the event that names its role, to be completed by the choice's index."""

    def __init__(self, plan: _Plan, *, logprobs: bool) -> None:
        self._plan = plan
        self._with_logprobs = logprobs

    def token(self, choice: int, index: int) -> bytes:
        """Return one token of a choice; the last says why it is the last, if that is a limit."""
        plan = self._plan
        delta = b'{"content":"%s"}' % tokens.piece(index, plan.piece_bytes).encode()
        logprobs = b"null"
        if self._with_logprobs:
            logprobs = msgspec.json.encode({"content": [_logprobs(index, plan.piece_bytes)]})
        ends = index == plan.length - 1 and plan.finish_reason == "length"
        return self._choice(choice, delta, logprobs, b'"length","stop_reason":null' if ends else b"null")

    def stop(self, choice: int) -> bytes:
        """Return the event without text that says that the model had no more to say."""
        return self._choice(choice, b'{"content":""}', b"null", b'"stop","stop_reason":null')

    @staticmethod
    def _choice(choice: int, delta: bytes, logprobs: bytes, finish_reason: bytes) -> bytes:
        fields = (choice, delta, logprobs, finish_reason)
        return b'{"index":%d,"delta":%s,"logprobs":%s,"finish_reason":%s,"token_ids":null}' % fields


class _CompletionEvents:
    """How a stream of plain completions says things."""

    id_prefix = "cmpl"
    object = "text_completion"
    opening = b""
    """Empty: a choice begins with its first token."""

    def __init__(self, plan: _Plan) -> None:
        self._plan = plan

    def token(self, choice: int, index: int) -> bytes:
        """Return one token of a choice; the last says why it is the last, if that is a limit."""
        plan = self._plan
        ends = index == plan.length - 1 and plan.finish_reason == "length"
        return self._choice(choice, tokens.piece(index, plan.piece_bytes).encode(), b'"length"' if ends else b"null")

    def stop(self, choice: int) -> bytes:
        """Return the event without text that says that the model had no more to say."""
        return self._choice(choice, b"", b'"stop"')

    @staticmethod
    def _choice(choice: int, text: bytes, finish_reason: bytes) -> bytes:
        return (
            b'{"index":%d,"text":"%s","logprobs":null,"finish_reason":%s,"stop_reason":null,'
            b'"prompt_token_ids":null,"token_ids":null}' % (choice, text, finish_reason)
        )


class _GenerationStream:
    """The order of events, which chat and plain completions share."""

    opening: tuple[bytes, ...] = ()

    def __init__(self, asked: Asked, plan: _Plan, events: _ChatEvents | _CompletionEvents) -> None:
        self.work = plan.work
        self._plan = plan
        self._events = events
        self._head = b'data: {"id":%s,"object":"%s","created":%d,"model":%s,"choices":[' % (
            msgspec.json.encode(f"{events.id_prefix}-{asked.id}"),
            events.object.encode(),
            asked.created,
            msgspec.json.encode(asked.model),
        )

    def step(self, index: int) -> list[bytes]:
        """Return the events that one token of every choice brings."""
        plan, says = self._plan, self._events
        events: list[bytes] = []
        if index == 0:
            more = b',"prompt_token_ids":null,"prompt_text":null'
            choices = range(plan.choices if says.opening else 0)
            events.extend(self._event(says.opening % choice, 0, more) for choice in choices)
        last = index == plan.length - 1
        final = self._fingerprint if last and not plan.final_usage else b""
        stops = last and plan.finish_reason == "stop"
        for choice in range(plan.choices):
            events.append(self._event(says.token(choice, index), index + 1, b"" if stops else final))
            if stops:
                events.append(self._event(says.stop(choice), index + 1, final))
        if last:
            if plan.final_usage:
                usage = msgspec.json.encode(plan.usage(plan.choices * plan.length))
                events.append(b'%s],"usage":%s%s}\n\n' % (self._head, usage, self._fingerprint))
            events.append(DONE)
        return events

    def failure(self, error: bytes) -> list[bytes]:
        """Return the error as an event, and the end marker."""
        return [b"data: %s\n\n" % error, DONE]

    _fingerprint = b',"system_fingerprint":"%s"' % FINGERPRINT.encode()

    def _event(self, choice: bytes, produced: int, more: bytes) -> bytes:
        usage = b""
        if self._plan.running_usage:
            usage = b',"usage":' + msgspec.json.encode(self._plan.usage(produced))
        return b"%s%s]%s%s}\n\n" % (self._head, choice, usage, more)
