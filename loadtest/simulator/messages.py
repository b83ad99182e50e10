"""Anthropic's ``/v1/messages``, unary and streamed, and ``/v1/messages/count_tokens``."""

from __future__ import annotations

from typing import Any

import msgspec

from loadtest.simulator import tokens
from loadtest.simulator.batch import Work
from loadtest.simulator.engine_response import EngineResponse, ResponseContext, UnaryResponse
from loadtest.simulator.requests import MessagesRequest, answer_length, check_model, decode, missing, text_of_messages


def messages(asked: ResponseContext) -> EngineResponse:
    """Answer ``/v1/messages``. Raises ``EngineError``."""
    request = decode(asked.body, asked.content_type, MessagesRequest)
    if request.max_tokens is None:
        raise missing("max_tokens")
    check_model(request.model, asked.model)
    prompt = text_of_messages(request.messages)
    prompt_tokens = tokens.count(prompt)
    work = Work(prompt_tokens, answer_length(prompt_tokens, request.max_tokens, asked.max_model_len), prompt)
    if request.stream:
        return _MessagesStream(asked, work)
    text = tokens.text(work.output_tokens, asked.faults.event_bytes)
    answer = _message(asked) | {
        "content": [{"type": "text", "text": text}],
        "stop_reason": "max_tokens",
        "usage": _usage(work.prompt_tokens, work.output_tokens),
    }
    return UnaryResponse(msgspec.json.encode(answer), work)


def count_tokens(asked: ResponseContext) -> UnaryResponse:
    """Answer ``/v1/messages/count_tokens``. Raises ``EngineError``."""
    request = decode(asked.body, asked.content_type, MessagesRequest)
    check_model(request.model, asked.model)
    count = tokens.count(text_of_messages(request.messages))
    answer = {"input_tokens": count, "context_management": {"original_input_tokens": count}}
    return UnaryResponse(msgspec.json.encode(answer))


def _usage(prompt_tokens: int, output_tokens: int) -> dict[str, int]:
    return {"input_tokens": prompt_tokens, "output_tokens": output_tokens}


def _message(asked: ResponseContext) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{asked.id}",
        "type": "message",
        "role": "assistant",
        "content": [],
        "model": asked.model,
    }


class _MessagesStream:
    """The events of a streamed message; ``message_stop`` is the end marker."""

    opening: tuple[bytes, ...] = ()

    def __init__(self, asked: ResponseContext, work: Work) -> None:
        self.work = work
        self._asked = asked

    def step(self, index: int) -> list[bytes]:
        """Return the events that one token brings; the first opens message and block, the last closes both."""
        events = []
        if index == 0:
            begun = _message(self._asked) | {
                "stop_reason": None,
                "stop_sequence": None,
                "usage": _usage(self.work.prompt_tokens, 0),
            }
            block = {"type": "text", "text": ""}
            events += [
                _event("message_start", {"message": begun}),
                _event("content_block_start", {"content_block": block, "index": 0}),
            ]
        delta = {"type": "text_delta", "text": tokens.piece(index, self._asked.faults.event_bytes)}
        events.append(_event("content_block_delta", {"delta": delta, "index": 0}))
        if index == self.work.output_tokens - 1:
            why = {"stop_reason": "max_tokens", "stop_sequence": None}
            usage = _usage(self.work.prompt_tokens, self.work.output_tokens)
            events += [
                _event("content_block_stop", {"index": 0}),
                _event("message_delta", {"delta": why, "usage": usage}),
                _event("message_stop", {}),
            ]
        return events

    def failure(self, error: bytes) -> list[bytes]:
        """Return the error as an event; there is no other end marker."""
        message = msgspec.json.decode(error)["error"]["message"]
        return [_event("error", {"error": {"type": "internal_error", "message": message}})]


def _event(name: str, fields: dict[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode({"type": name} | fields))
