"""``/v1/chat/completions``, unary and streamed."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from loadtest.simulator import tokens
from loadtest.simulator.engine_response import EngineResponse, ResponseContext, UnaryResponse
from loadtest.simulator.generation import FINGERPRINT, GenerationPlan, GenerationStream
from loadtest.simulator.requests import ChatRequest, Tool, check_model, decode, missing, text_of_messages


def chat(asked: ResponseContext) -> EngineResponse:
    """Answer ``/v1/chat/completions``. A tool is called only where one must be: ``required``, or by its name.

    Raises ``EngineError``.
    """
    request = decode(asked.body, asked.content_type, ChatRequest)
    request.check()
    if request.messages is None:
        raise missing("messages")
    check_model(request.model, asked.model)
    prompt = text_of_messages(request.messages)
    prompt_tokens, begun = tokens.count(prompt), 0
    if request.continue_final_message:
        *before, last = request.messages
        begun, _ = tokens.begun(str(last.get("content")))
        prompt_tokens = tokens.count(text_of_messages(before or [last])) + begun
    plan = GenerationPlan.of(asked, request, prompt, prompt_tokens, choices=request.n or 1, begun=begun)
    wording: _TextWording | _ToolWording
    if request.forced_tool is None:
        wording = _TextWording(plan, logprobs=bool(request.logprobs))
    else:
        named = isinstance(request.tool_choice, Tool)
        wording = _ToolWording(plan, request.forced_tool, asked.id, reason="stop" if named else "tool_calls")
    if request.stream:
        return GenerationStream(asked, plan, wording)
    return UnaryResponse(b"", plan.work, lambda: _whole(asked, plan, wording))


def _whole(asked: ResponseContext, plan: GenerationPlan, wording: _TextWording | _ToolWording) -> bytes:
    choices = [
        {
            "index": index,
            "message": wording.message(),
            "logprobs": wording.logprobs(),
            "finish_reason": plan.finish_reason if plan.finish_reason == "length" else wording.reason,
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
    return msgspec.json.encode(answer)


class _ChatWording:
    """How a chat says things. Templates are bytes: a load test makes these events by the hundred thousand."""

    id_prefix = "chatcmpl"
    object = "chat.completion.chunk"
    usage_details: ClassVar[dict[str, None]] = {"completion_tokens_details": None}
    opening = b'{"index":%d,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}'
    reason = "stop"
    """Why the model stops when it stops by itself."""
    last_delta = b'{"content":""}'
    """What it adds then."""

    def __init__(self, plan: GenerationPlan) -> None:
        self._plan = plan

    def stop(self, choice: int) -> bytes:
        """Return the event without text that says that the model had no more to say."""
        return self._choice(choice, self.last_delta, b"null", b'"%s","stop_reason":null' % self.reason.encode())

    def _token(self, choice: int, index: int, delta: bytes, logprobs: bytes = b"null") -> bytes:
        ends = index == self._plan.length - 1 and self._plan.finish_reason == "length"
        return self._choice(choice, delta, logprobs, b'"length","stop_reason":null' if ends else b"null")

    @staticmethod
    def _choice(choice: int, delta: bytes, logprobs: bytes, finish_reason: bytes) -> bytes:
        fields = (choice, delta, logprobs, finish_reason)
        return b'{"index":%d,"delta":%s,"logprobs":%s,"finish_reason":%s,"token_ids":null}' % fields

    @staticmethod
    def _message(content: str, calls: dict[str, Any] | None = None) -> dict[str, Any]:
        before = {"refusal": None, "annotations": None, "audio": None, "function_call": None}
        return {"role": "assistant", "content": content} | before | (calls or {}) | {"reasoning": None}


class _TextWording(_ChatWording):
    """A chat's response is text."""

    def __init__(self, plan: GenerationPlan, *, logprobs: bool) -> None:
        super().__init__(plan)
        self._with_logprobs = logprobs

    def message(self) -> dict[str, Any]:
        """Return the whole response."""
        return self._message(self._plan.text())

    def logprobs(self) -> dict[str, Any] | None:
        """Return the log probabilities of all tokens, if they were asked for."""
        return {"content": [self._logprob(at) for at in range(self._plan.length)]} if self._with_logprobs else None

    def token(self, choice: int, index: int) -> bytes:
        """Return one token of a choice; the last says why it is the last, if that is a limit."""
        delta = b'{"content":"%s"}' % self._plan.piece(index).encode()
        if self._with_logprobs:
            return self._token(choice, index, delta, msgspec.json.encode({"content": [self._logprob(index)]}))
        return self._token(choice, index, delta)

    def _logprob(self, index: int) -> dict[str, Any]:
        piece = self._plan.piece(index)
        return {"token": piece, "logprob": -0.25, "bytes": list(piece.encode()), "top_logprobs": []}


class _ToolWording(_ChatWording):
    """A chat's response is the call of a function whose one argument, ``words``, is the text after its first token."""

    last_delta = b"{}"

    def __init__(self, plan: GenerationPlan, function: str, call_id: str, *, reason: str) -> None:
        super().__init__(plan)
        self.reason = reason
        self._function = function
        self._call_id = f"chatcmpl-tool-{call_id}"

    def message(self) -> dict[str, Any]:
        """Return the whole response."""
        arguments = "".join(self._arguments(index) for index in range(self._plan.length))
        function = {"name": self._function, "arguments": arguments}
        call = {"id": self._call_id, "type": "function", "function": function}
        return self._message("", {"tool_calls": [call]})

    def logprobs(self) -> None:
        """Return nothing: they are not simulated for calls."""

    def token(self, choice: int, index: int) -> bytes:
        """Return one token of the arguments; the first only names the function."""
        call: dict[str, Any] = {"index": 0, "function": {"arguments": self._arguments(index)}}
        if index == 0:
            call = {"id": self._call_id, "type": "function", "index": 0, "function": {"name": self._function}}
        return self._token(choice, index, msgspec.json.encode({"content": None, "tool_calls": [call]}))

    def _arguments(self, index: int) -> str:
        if index == 0:
            return ""
        before = '{"words":"' if index == 1 else ""
        after = '"}' if index == self._plan.length - 1 else ""
        return before + self._plan.piece(index) + after
