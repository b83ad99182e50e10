"""What each fault looks like to a client, byte by byte where that matters."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from loadtest.simulator import Cut, Faults, SimulatedEngine, Timing
from tests.kit.wire import Wire, WireError

CHAT = {"model": "sim", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
STREAM = CHAT | {"stream": True}
DONE = b"data: [DONE]"


async def ask(wire: Wire, body: dict[str, Any]) -> None:
    await wire.request("POST", "/v1/chat/completions", body)


async def events_until_broken(wire: Wire) -> list[bytes]:
    """Return the events that came before the response broke off."""
    events = []
    try:
        async for event in wire.events():
            events.append(event)  # noqa: PERF401 - what came before the error must be kept
    except WireError:
        return events
    raise AssertionError("the response did not break off")


async def test_without_faults_a_stream_is_role_tokens_and_end_marker(engine: SimulatedEngine, wire: Wire) -> None:
    await ask(wire, STREAM)
    answer = await wire.response()
    assert answer.status == 200
    assert answer.header("content-type") == "text/event-stream; charset=utf-8"
    assert answer.header("transfer-encoding") == "chunked"
    assert len(answer.events) == 6
    assert answer.events[-1] == DONE
    assert engine.events == 6


async def test_a_streams_head_comes_before_its_first_token() -> None:
    async with (
        SimulatedEngine(timing=Timing(ttft=3600)) as engine,
        await Wire.connect_to(engine.address) as wire,
    ):
        await ask(wire, STREAM)
        assert (await wire.head()).status == 200
        assert (engine.running, engine.events) == (1, 0)


async def test_silent_reads_the_request_and_says_nothing(engine: SimulatedEngine, wire: Wire) -> None:
    engine.faults = Faults(silent=True)
    await ask(wire, CHAT)
    await engine.until(lambda e: e.received == 1)
    wire.abort()
    await engine.until(lambda e: e.aborted == 1)


async def test_delay_keeps_everything_waiting_and_a_leaving_client_ends_it(engine: SimulatedEngine, wire: Wire) -> None:
    engine.faults = Faults(delay=3600)
    await ask(wire, STREAM)
    await engine.until(lambda e: e.received == 1)
    assert engine.running == 0
    wire.abort()
    await engine.until(lambda e: e.aborted == 1)
    engine.faults = Faults(delay=0.001)
    async with await Wire.connect_to(engine.address) as second:
        await ask(second, CHAT)
        assert (await second.response()).status == 200


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "BadRequestError"),
        (404, "NotFoundError"),
        (500, "InternalServerError"),
        (503, "Service Unavailable"),
        (418, "I'm a Teapot"),
    ],
)
async def test_status_answers_with_vllms_error(engine: SimulatedEngine, wire: Wire, status: int, kind: str) -> None:
    engine.faults = Faults(status=status)
    await ask(wire, STREAM)
    answer = await wire.response()
    assert answer.status == status
    assert (answer.json["error"]["type"], answer.json["error"]["code"]) == (kind, status)
    assert engine.served == 1


async def test_status_is_an_error_of_anthropics_shape_on_its_endpoints(engine: SimulatedEngine, wire: Wire) -> None:
    engine.faults = Faults(status=500)
    await wire.request("POST", "/v1/messages", CHAT)
    answer = await wire.response()
    assert answer.json["type"] == "error"
    assert answer.json["error"]["type"] == "InternalServerError"


async def test_an_error_can_have_a_body_that_is_not_json(engine: SimulatedEngine, wire: Wire) -> None:
    engine.faults = Faults(status=500, error_body="Internal Server Error")
    await ask(wire, CHAT)
    answer = await wire.response()
    assert (answer.status, answer.body) == (500, b"Internal Server Error")
    assert answer.header("content-type") == "text/plain; charset=utf-8"


async def test_garbage_is_not_http(engine: SimulatedEngine, wire: Wire) -> None:
    engine.faults = Faults(garbage=True)
    await ask(wire, CHAT)
    with pytest.raises(WireError, match="no status line"):
        await wire.response()
    await engine.until(lambda e: e.faulted == 1 and e.connections == 0)


async def test_hang_keeps_the_connection_open_after_so_many_events(engine: SimulatedEngine, wire: Wire) -> None:
    engine.faults = Faults(hang_after=2)
    await ask(wire, STREAM)
    events = wire.events()
    assert [b"role" in await anext(events), b" t0" in await anext(events)] == [True, True]
    assert (engine.running, engine.events) == (1, 2)
    wire.abort()
    await engine.until(lambda e: e.aborted == 1 and e.running == 0)
    await events.aclose()


@pytest.mark.parametrize("after", [0, 1, 3, 5])
async def test_cut_by_closing_sends_whole_events_only(engine: SimulatedEngine, wire: Wire, after: int) -> None:
    engine.faults = Faults(cut_after=after)
    await ask(wire, STREAM)
    events = await events_until_broken(wire)
    assert len(events) == after
    assert DONE not in events
    assert (engine.faulted, engine.served, engine.running) == (1, 0, 0)


async def test_cut_at_the_end_of_http_is_a_good_answer_without_end_marker(engine: SimulatedEngine, wire: Wire) -> None:
    engine.faults = Faults(cut_after=3, cut=Cut.END)
    await ask(wire, STREAM)
    assert len((await wire.response()).events) == 3
    engine.faults = Faults()
    await ask(wire, CHAT)
    assert (await wire.response()).status == 200
    assert (engine.faulted, engine.served) == (1, 1)


async def test_cut_by_reset_resets(engine: SimulatedEngine, wire: Wire) -> None:
    engine.faults = Faults(cut_after=3, cut=Cut.RESET)
    await ask(wire, STREAM)
    await wire.head()
    with pytest.raises(WireError, match="reset"):
        await wire.response()
    assert engine.faulted == 1


async def test_cut_by_reset_closes_a_unix_socket(tmp_path: Path) -> None:
    faults = Faults(cut_after=3, cut=Cut.RESET)
    async with (
        SimulatedEngine(uds=tmp_path / "sock", faults=faults) as engine,
        await Wire.connect_to(engine.address) as wire,
    ):
        await ask(wire, STREAM)
        assert len(await events_until_broken(wire)) == 3


async def test_cut_in_the_middle_of_an_event(engine: SimulatedEngine, wire: Wire) -> None:
    engine.faults = Faults(cut_after=2, cut=Cut.MID_EVENT)
    await ask(wire, STREAM)
    received = await wire.rest()
    assert received.count(b"data: ") == 3
    assert received.count(b"\n\n") == 2
    assert not received.endswith(b"\n")


async def test_cut_of_a_unary_body(engine: SimulatedEngine, wire: Wire) -> None:
    engine.faults = Faults(cut_body_after=10)
    await ask(wire, CHAT)
    with pytest.raises(WireError, match="too early"):
        await wire.response()
    assert engine.faulted == 1


async def test_an_error_inside_the_stream_has_vllms_shape(engine: SimulatedEngine, wire: Wire) -> None:
    engine.faults = Faults(error_after=2)
    await ask(wire, STREAM)
    *_, error, done = (await wire.response()).events
    assert error.startswith(b'data: {"error":{"message":"')
    assert b'"type":"InternalServerError","param":null,"code":500}}' in error
    assert done == DONE
    assert engine.served == 1


async def test_crash_upon_a_request(engine: SimulatedEngine, wire: Wire) -> None:
    engine.faults = Faults(crash_after=0)
    await ask(wire, CHAT)
    await wire.closed()
    assert not engine.listening
    assert (engine.faulted, engine.running) == (1, 0)


async def test_crash_in_the_middle_of_a_stream_takes_all_connections_along(engine: SimulatedEngine, wire: Wire) -> None:
    async with await Wire.connect_to(engine.address) as other:
        await other.request("GET", "/health")
        await other.response()
        engine.faults = Faults(crash_after=2)
        await ask(wire, STREAM)
        assert len(await events_until_broken(wire)) == 2
        await other.closed()


async def test_a_crash_calls_what_the_process_asked_for() -> None:
    crashed = []
    async with (
        SimulatedEngine(faults=Faults(crash_after=0), on_crash=lambda: crashed.append(True)) as engine,
        await Wire.connect_to(engine.address) as wire,
    ):
        await ask(wire, CHAT)
        await wire.closed()
    assert crashed == [True]


async def test_a_content_length_that_promises_too_much(engine: SimulatedEngine, wire: Wire) -> None:
    engine.faults = Faults(length_error=5)
    await ask(wire, CHAT)
    with pytest.raises(WireError, match="5 bytes too early"):
        await wire.response()


async def test_a_content_length_that_promises_too_little(engine: SimulatedEngine, wire: Wire) -> None:
    engine.faults = Faults(length_error=-5)
    await ask(wire, CHAT)
    answer = await wire.response()
    assert not answer.body.endswith(b"}")
    assert await wire.reader.readexactly(5) == b"null}"


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["unary", "stream"])
async def test_both_length_headers(engine: SimulatedEngine, wire: Wire, body: dict[str, Any]) -> None:
    engine.faults = Faults(both_lengths=True)
    await ask(wire, body)
    with pytest.raises(WireError, match="both content-length and transfer-encoding"):
        await wire.head()


async def test_huge_headers(engine: SimulatedEngine, wire: Wire) -> None:
    engine.faults = Faults(header_bytes=100_000)
    await ask(wire, CHAT)
    assert (await wire.response()).header("x-padding") == "x" * 100_000


async def test_usage_on_every_event(engine: SimulatedEngine, wire: Wire) -> None:
    engine.faults = Faults(usage_on_every_event=True)
    await ask(wire, STREAM)
    *events, _done = (await wire.response()).events
    produced = [json.loads(event.removeprefix(b"data: "))["usage"]["completion_tokens"] for event in events]
    assert produced == [0, 1, 2, 3, 4]


async def test_comments_come_before_every_event(engine: SimulatedEngine, wire: Wire) -> None:
    engine.faults = Faults(comments=True)
    await ask(wire, STREAM)
    events = (await wire.response()).events
    assert events[::2] == [b": simulated"] * 6
    assert events[-1] == DONE


async def test_lines_can_end_with_cr_lf(engine: SimulatedEngine, wire: Wire) -> None:
    engine.faults = Faults(crlf=True)
    await ask(wire, STREAM)
    body = (await wire.response()).body
    assert body.count(b"\r\n\r\n") == 6
    assert body.count(b"\n") == 2 * 6
    assert body.endswith(b"data: [DONE]\r\n\r\n")


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["unary", "stream"])
async def test_texts_can_be_long(engine: SimulatedEngine, wire: Wire, body: dict[str, Any]) -> None:
    engine.faults = Faults(event_bytes=5000)
    await ask(wire, body)
    assert (await wire.response()).body.count(b"x" * 4900) == 4


@pytest.mark.parametrize("size", [1, 7])
@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["unary", "stream"])
async def test_segments_leave_one_by_one(engine: SimulatedEngine, wire: Wire, body: dict[str, Any], size: int) -> None:
    await wire.request("POST", "/v1/chat/completions", body, {"x-request-id": "same"})
    whole = await wire.response()
    engine.faults = Faults(segment_bytes=size)
    await wire.request("POST", "/v1/chat/completions", body, {"x-request-id": "same"})
    pieces: list[bytes] = []
    while sum(map(len, pieces)) < len(whole.body):
        pieces.append(await wire.reader.read(65536))
    assert max(map(len, pieces)) < 200
    assert len(pieces) > 20
    await engine.until(lambda e: e.served == 2)


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["unary", "stream"])
async def test_a_client_that_leaves_between_two_segments_is_an_abort(
    engine: SimulatedEngine, wire: Wire, body: dict[str, Any]
) -> None:
    engine.faults = Faults(segment_bytes=1)
    await ask(wire, body)
    await wire.reader.readexactly(10)
    wire.abort()
    await engine.until(lambda e: e.aborted == 1 and e.running == 0)
    assert engine.served == 0


async def test_close_after_an_answer_that_did_not_announce_it(engine: SimulatedEngine, wire: Wire) -> None:
    engine.faults = Faults(close_after_answer=True)
    await ask(wire, CHAT)
    answer = await wire.response()
    assert answer.header("connection") is None
    await wire.closed()
    assert engine.served == 1


async def test_idle_connections_are_closed(engine: SimulatedEngine, wire: Wire) -> None:
    engine.faults = Faults(close_idle_after=0.01)
    await ask(wire, CHAT)
    assert (await wire.response()).status == 200
    await wire.closed()


async def test_a_stream_shorter_than_the_fault_is_left_alone(engine: SimulatedEngine, wire: Wire) -> None:
    engine.faults = Faults(cut_after=100, hang_after=50)
    await ask(wire, STREAM)
    assert (await wire.response()).events[-1] == DONE
    assert (engine.served, engine.faulted) == (1, 0)


async def test_a_cut_in_an_event_that_never_comes_changes_nothing(engine: SimulatedEngine, wire: Wire) -> None:
    engine.faults = Faults(cut_after=6, cut=Cut.MID_EVENT)
    await ask(wire, STREAM)
    assert (await wire.response()).events[-1] == DONE
    assert engine.served == 1


async def test_a_head_request_has_no_body(wire: Wire) -> None:
    await wire.request("HEAD", "/v1/models")
    answer = await wire.response(to_head=True)
    assert answer.status == 405
    assert int(answer.header("content-length") or 0) > 0
    await wire.request("GET", "/health")
    assert (await wire.response()).status == 200


async def test_faults_spare_get_requests_unless_told_otherwise(engine: SimulatedEngine, wire: Wire) -> None:
    engine.faults = Faults(status=500)
    await wire.request("GET", "/v1/models")
    assert (await wire.response()).status == 200
    engine.faults = Faults(status=500, also_get=True)
    await wire.request("GET", "/v1/models")
    assert (await wire.response()).status == 500
    assert engine.received == 0


async def test_unary_answers_of_many_connections_do_not_mix(engine: SimulatedEngine) -> None:
    async def one(number: int) -> bool:
        async with await Wire.connect_to(engine.address) as wire:
            await wire.request("POST", "/v1/embeddings", {"input": str(number)}, {"x-request-id": str(number)})
            return bool((await wire.response()).json["id"] == f"embd-{number}")

    assert all(await asyncio.gather(*map(one, range(50))))
