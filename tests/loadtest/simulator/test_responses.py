"""``/v1/responses``: the events in their order, and the whole response."""

import json
from typing import Any

from loadtest.simulator import Faults, SimulatedEngine, Timing
from tests.kit.wire import Wire


async def ask(wire: Wire, **fields: Any) -> None:
    await wire.request("POST", "/v1/responses", {"model": "sim", "input": "abcd"} | fields, {"x-request-id": "r"})


def parsed(event: bytes) -> tuple[str, dict[str, Any]]:
    name, data = event.decode().split("\n")
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


async def test_a_unary_answer(wire: Wire) -> None:
    await ask(wire)
    answer = (await wire.response()).json
    assert (answer["id"], answer["object"], answer["status"]) == ("resp_r", "response", "completed")
    assert answer["output"][0]["content"][0]["text"].startswith(" t0 t1")
    assert answer["usage"]["total_tokens"] == 17


async def test_a_limit_makes_it_incomplete(wire: Wire) -> None:
    await ask(wire, max_output_tokens=2)
    answer = (await wire.response()).json
    assert (answer["status"], answer["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})


async def test_a_stream_numbers_its_events(wire: Wire) -> None:
    await ask(wire, stream=True, max_output_tokens=2)
    events = [parsed(event) for event in (await wire.response()).events]
    assert [name for name, _ in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [data["sequence_number"] for _, data in events] == list(range(10))
    assert [data["type"] for _, data in events] == [name for name, _ in events]
    assert events[-1][1]["response"]["usage"]["output_tokens"] == 2
    assert events[6][1]["text"] == " t0 t1"


async def test_two_events_come_before_the_first_token() -> None:
    async with (
        SimulatedEngine(timing=Timing(ttft=3600)) as engine,
        await Wire.connect_to(engine.address) as wire,
    ):
        await ask(wire, stream=True)
        events = wire.events()
        assert [parsed(await anext(events))[0] for _ in range(2)] == ["response.created", "response.in_progress"]
        await events.aclose()


async def test_a_failure_is_an_event_of_its_own(engine: SimulatedEngine, wire: Wire) -> None:
    engine.faults = Faults(error_after=4)
    await ask(wire, stream=True)
    name, data = parsed((await wire.response()).events[-1])
    assert (name, data["code"]) == ("error", "500")


async def test_an_input_must_be_there(wire: Wire) -> None:
    await ask(wire, input=None)
    assert (await wire.response()).status == 400
