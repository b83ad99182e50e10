"""Anthropic's messages: the events in their order, the whole message, and the count of tokens."""

import json
from typing import Any

from loadtest.simulator import Faults, SimulatedEngine
from tests.kit.wire import Response, Wire

MESSAGES = [{"role": "user", "content": "hi"}]


async def ask(wire: Wire, **fields: Any) -> Response:
    body = {"model": "sim", "messages": MESSAGES, "max_tokens": 2} | fields
    await wire.request("POST", "/v1/messages", body, {"x-request-id": "r"})
    return await wire.response()


async def test_a_unary_answer(wire: Wire) -> None:
    assert (await ask(wire)).json == {
        "id": "chatcmpl-r",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": " t0 t1"}],
        "model": "sim",
        "stop_reason": "max_tokens",
        "usage": {"input_tokens": 8, "output_tokens": 2},
    }


async def test_a_stream_ends_with_its_own_marker(wire: Wire) -> None:
    events = [event.decode().split("\n") for event in (await ask(wire, stream=True)).events]
    assert [name for name, _ in events] == [
        "event: message_start",
        "event: content_block_start",
        "event: content_block_delta",
        "event: content_block_delta",
        "event: content_block_stop",
        "event: message_delta",
        "event: message_stop",
    ]
    assert events[-1][1] == 'data: {"type":"message_stop"}'
    delta = json.loads(events[-2][1].removeprefix("data: "))
    assert delta["delta"] == {"stop_reason": "max_tokens", "stop_sequence": None}
    assert delta["usage"] == {"input_tokens": 8, "output_tokens": 2}


async def test_a_failure_is_an_event_of_its_own(engine: SimulatedEngine, wire: Wire) -> None:
    engine.faults = Faults(error_after=3)
    assert (
        (await ask(wire, stream=True))
        .events[-1]
        .startswith(b'event: error\ndata: {"type":"error","error":{"type":"internal_error","message":"')
    )


async def test_counting_tokens(wire: Wire) -> None:
    await wire.request("POST", "/v1/messages/count_tokens", {"model": "sim", "messages": MESSAGES})
    assert (await wire.response()).json == {"input_tokens": 8, "context_management": {"original_input_tokens": 8}}


async def test_what_vllm_refuses_has_anthropics_shape(wire: Wire) -> None:
    answer = await ask(wire, model="other")
    assert answer.status == 404
    assert answer.json["type"] == "error"
    assert answer.json["error"]["type"] == "NotFoundError"


async def test_what_the_web_framework_refuses_has_openais_shape(wire: Wire) -> None:
    answer = await ask(wire, max_tokens=None)
    assert answer.status == 400
    assert answer.json["error"]["param"] == "body.max_tokens"
