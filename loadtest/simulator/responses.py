"""``/v1/responses``, unary and streamed."""

from __future__ import annotations

from typing import Any

import msgspec

from loadtest.simulator import tokens
from loadtest.simulator.batch import Work
from loadtest.simulator.engine_response import EngineResponse, ResponseContext, UnaryResponse
from loadtest.simulator.requests import (
    ResponsesRequest,
    answer_length,
    check_model,
    decode,
    missing,
    prompt_of,
    texts_of,
    tokens_of,
)


def responses(asked: ResponseContext) -> EngineResponse:
    """Answer ``/v1/responses``. Raises ``EngineError``."""
    request = decode(asked.body, asked.content_type, ResponsesRequest)
    check_model(request.model, asked.model)
    if request.input is None:
        raise missing("input")
    prompts = texts_of(request.input, "input")
    prompt_tokens = sum(map(tokens_of, prompts))
    length = answer_length(prompt_tokens, request.max_output_tokens, asked.max_model_len)
    work = Work(prompt_tokens, length, prompt_of(prompts))
    if request.stream:
        return _ResponsesStream(asked, request, work)
    return UnaryResponse(b"", work, lambda: msgspec.json.encode(_finished(asked, request, work)))


def _finished(asked: ResponseContext, request: ResponsesRequest, work: Work) -> dict[str, Any]:
    """Return the whole response."""
    usage = {
        "input_tokens": work.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": work.cached_tokens or 0,
            "cache_write_tokens": 0,
            "input_tokens_per_turn": [],
            "cached_tokens_per_turn": [],
        },
        "output_tokens": work.output_tokens,
        "output_tokens_details": {
            "reasoning_tokens": 0,
            "tool_output_tokens": 0,
            "output_tokens_per_turn": [],
            "tool_output_tokens_per_turn": [],
        },
        "total_tokens": work.prompt_tokens + work.output_tokens,
    }
    text = tokens.text(work.output_tokens, asked.faults.event_bytes)
    cut = request.max_output_tokens is not None
    status = "incomplete" if cut else "completed"
    answer = _response(asked, work, status, [_message(asked, text)], usage)
    return answer | {"incomplete_details": {"reason": "max_output_tokens"} if cut else None}


def _response(
    asked: ResponseContext, work: Work, status: str, output: list[dict[str, Any]], usage: dict[str, Any] | None
) -> dict[str, Any]:
    return {
        "id": f"resp_{asked.id}",
        "created_at": asked.created,
        "incomplete_details": None,
        "instructions": None,
        "metadata": None,
        "model": asked.model,
        "object": "response",
        "output": output,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "background": False,
        "max_output_tokens": work.output_tokens,
        "max_tool_calls": None,
        "previous_response_id": None,
        "prompt": None,
        "reasoning": None,
        "service_tier": "auto",
        "status": status,
        "text": None,
        "top_logprobs": None,
        "truncation": "disabled",
        "usage": usage,
        "user": None,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "input_messages": None,
        "output_messages": None,
    }


def _message(asked: ResponseContext, text: str) -> dict[str, Any]:
    """Return the output's one item, complete."""
    return {
        "id": f"msg_{asked.id}",
        "content": [_part(text)],
        "role": "assistant",
        "status": "completed",
        "type": "message",
        "phase": None,
    }


def _part(text: str) -> dict[str, Any]:
    return {"annotations": [], "text": text, "type": "output_text", "logprobs": None}


class _ResponsesStream:
    """The events of a streamed response, each with its name and the next ``sequence_number``."""

    def __init__(self, asked: ResponseContext, request: ResponsesRequest, work: Work) -> None:
        self.work = work
        self._asked = asked
        self._request = request
        self._number = 0
        begun = _response(asked, work, "in_progress", [], None)
        self.opening = (
            self._event("response.created", {"response": begun}),
            self._event("response.in_progress", {"response": begun}),
        )

    def step(self, index: int) -> list[bytes]:
        """Return the events that one token brings; the first opens the item, the last completes everything."""
        asked, work = self._asked, self.work
        item = {"item_id": f"msg_{asked.id}", "output_index": 0, "content_index": 0}
        events = []
        if index == 0:
            message = _message(asked, "") | {"content": [], "status": "in_progress"}
            events.append(self._event("response.output_item.added", {"item": message, "output_index": 0}))
            empty = _part("") | {"logprobs": []}
            events.append(self._event("response.content_part.added", item | {"part": empty}))
        piece = tokens.piece(index, asked.faults.event_bytes)
        events.append(self._event("response.output_text.delta", item | {"delta": piece, "logprobs": []}))
        if index == work.output_tokens - 1:
            text = tokens.text(work.output_tokens, asked.faults.event_bytes)
            events += [
                self._event("response.output_text.done", item | {"text": text, "logprobs": []}),
                self._event("response.content_part.done", item | {"part": _part(text)}),
                self._event("response.output_item.done", {"item": _message(asked, text), "output_index": 0}),
                self._event("response.completed", {"response": _finished(asked, self._request, work)}),
            ]
        return events

    def failure(self, error: bytes) -> list[bytes]:
        """Return the error as an event; there is no other end marker."""
        detail = msgspec.json.decode(error)["error"]
        fields = {"code": str(detail["code"]), "message": detail["message"], "param": detail["param"]}
        return [self._event("error", fields)]

    def _event(self, name: str, fields: dict[str, Any]) -> bytes:
        # OpenAI's event classes, which vLLM uses, declare their fields in the order of the alphabet.
        data = dict(sorted((fields | {"sequence_number": self._number, "type": name}).items()))
        self._number += 1
        return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(data))
