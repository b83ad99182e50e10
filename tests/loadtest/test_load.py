"""The load's clients send when they should, and note what came."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from loadtest import workload
from loadtest.load import Load
from loadtest.record import Record
from loadtest.simulator import SimulatedEngine
from loadtest.simulator.batch import Timing
from loadtest.simulator.faults import Faults
from loadtest.workload import Request

pytestmark = pytest.mark.slow

STREAM = workload.chat("sim", "hello", 8, stream=True)
WHOLE = workload.chat("sim", "hello", 8, stream=False)


@pytest.fixture
async def engine() -> AsyncIterator[SimulatedEngine]:
    async with SimulatedEngine(timing=Timing(ttft=0.01, inter_token=0.002)) as running:
        yield running


@pytest.fixture
async def load(engine: SimulatedEngine) -> AsyncIterator[Load]:
    made = Load(engine.address, key="sk-test", headers=[("x-stainless-lang", "python")])
    yield made
    made.close()


async def test_a_stream_is_timed_event_by_event(load: Load) -> None:
    await load.open_loop([STREAM], [0.0])
    (record,) = load.records
    assert (record.status, record.error, record.tokens_out) == (200, None, 8)
    assert len(record.gaps) == 7
    assert record.ttft is not None
    assert record.e2e is not None
    assert 0.01 <= record.ttft < record.e2e
    assert sum(record.gaps) == pytest.approx(record.e2e - record.ttft)


async def test_a_whole_answer_is_timed_at_its_end(load: Load) -> None:
    await load.open_loop([WHOLE], [0.0])
    (record,) = load.records
    assert record.succeeded
    assert (record.tokens_out, record.ttft, record.gaps) == (8, None, [])


async def test_requests_carry_key_and_headers(engine: SimulatedEngine, load: Load) -> None:
    await load.open_loop([WHOLE], [0.0])
    asked = engine.requests[-1]
    assert (asked.header("authorization"), asked.header("x-stainless-lang")) == ("Bearer sk-test", "python")


async def test_an_open_loop_does_not_wait_for_answers() -> None:
    async with SimulatedEngine(timing=Timing(ttft=600.0)) as slow:
        load = Load(slow.address)
        asking = asyncio.create_task(load.open_loop([WHOLE], [0.0, 0.02, 0.04]))
        await slow.until(lambda engine: engine.running == 3)
        load.stop()
        await asking
        load.close()
    assert len(load.records) == 3
    assert [record.planned for record in load.records] == pytest.approx(
        [load.records[0].planned + moment for moment in (0.0, 0.02, 0.04)]
    )
    assert all(record.lateness >= 0 for record in load.records)


async def test_a_closed_loop_has_as_many_requests_under_way_as_clients(engine: SimulatedEngine, load: Load) -> None:
    asking = asyncio.create_task(load.closed_loop([WHOLE], clients=3, seconds=600.0))
    await engine.until(lambda each: each.served > 6)
    load.stop()
    await asking
    assert {record.error for record in load.records} <= {None, "the test was stopped"}
    ends = sorted([(record.sent or 0.0, 1) for record in load.records] + [(r.ended or 0.0, -1) for r in load.records])
    under_way = 0
    for _, change in ends:
        under_way += change
        assert under_way <= 3
    assert sum(record.succeeded for record in load.records) > 3


async def test_connections_are_kept_and_used_again(engine: SimulatedEngine, load: Load) -> None:
    await load.open_loop([WHOLE], [0.0])
    await load.open_loop([WHOLE], [0.0])
    assert repr(load.connections) == f"<ConnectionPool {engine.address} [1 open, 1 idle]>"
    assert repr(load) == f"<Load {engine.address} [2 sent, 0 under way]>"


async def test_a_refusal_is_noted_by_its_status_with_what_was_said(load: Load) -> None:
    await load.open_loop([Request("/v1/chat/completions", b'{"model":"other","messages":[]}')], [0.0])
    (record,) = load.records
    assert not record.succeeded
    assert (record.status, record.error) == (404, "status 404")
    assert record.detail.startswith("The model `other` does not exist.")


async def test_an_error_within_a_stream_is_a_failure_with_what_was_said() -> None:
    async with SimulatedEngine(faults=Faults(error_after=2)) as broken:
        load = Load(broken.address)
        await load.open_loop([STREAM], [0.0])
        load.close()
    (record,) = load.records
    assert not record.succeeded
    assert record.error == "an error within the stream"
    assert record.detail
    assert "{" not in record.detail


async def test_what_was_asked_is_noted(load: Load) -> None:
    await load.open_loop([replace(STREAM, kind="chat", tokens=1)], [0.0])
    (record,) = load.records
    assert (record.kind, record.asked_tokens) == ("chat", 1)
    assert record.ended is not None
    assert record.last is not None
    assert record.ended >= record.last


async def test_an_answer_that_takes_too_long_is_given_up() -> None:
    async with SimulatedEngine(timing=Timing(ttft=60.0)) as slow:
        load = Load(slow.address, timeout=0.5)
        await load.open_loop([STREAM], [0.0])
        await slow.until(lambda engine: engine.counts.aborted == 1)
        load.close()
    assert [record.error for record in load.records] == ["no whole response within 0.5 s"]
    assert (load.finished, load.failed, load.under_way) == (1, 1, 0)


async def test_an_answer_is_given_up_when_its_time_is_over_and_not_seconds_later() -> None:
    async with SimulatedEngine(timing=Timing(ttft=0.6)) as slow:
        load = Load(slow.address, timeout=0.1)
        await load.open_loop([WHOLE], [0.0])
        load.close()
    assert [record.error for record in load.records] == ["no whole response within 0.1 s"]


@pytest.mark.parametrize("closed", [False, True])
async def test_a_load_that_is_stopped_ends_at_once_and_keeps_what_it_has(closed: bool) -> None:
    async with SimulatedEngine(timing=Timing(ttft=60.0)) as slow:
        load = Load(slow.address)
        running = load.closed_loop([STREAM], 2, 60.0) if closed else load.open_loop([STREAM], [0.0, 0.0, 60.0])
        task = asyncio.create_task(running)
        await slow.until(lambda engine: engine.running == 2)
        load.stop()
        await task
        load.close()
    assert [record.error for record in load.records] == ["the test was stopped"] * 2


async def test_the_garbage_collector_works_again_afterwards(load: Load) -> None:
    await load.open_loop([WHOLE], [0.0])
    assert gc.isenabled()


async def test_a_broken_stream_is_a_failure() -> None:
    async with SimulatedEngine(faults=Faults(cut_after=2)) as broken:
        load = Load(broken.address)
        await load.open_loop([STREAM], [0.0])
        load.close()
    (record,) = load.records
    assert record.error is not None
    assert not record.succeeded


async def test_nobody_listening_is_a_failure(tmp_path_factory: pytest.TempPathFactory) -> None:
    load = Load(f"unix:{tmp_path_factory.mktemp('s')}/none.sock")
    await load.open_loop([WHOLE], [0.0, 0.0])
    assert [record.error for record in load.records] == [
        "The engine refused the connection: No such file or directory."
    ] * 2


async def test_clients_that_leave_abort_their_requests() -> None:
    async with SimulatedEngine(timing=Timing(ttft=60.0)) as slow:
        load = Load(slow.address)
        await load.open_loop([Request(STREAM.path, STREAM.body, leave_after=0.05)], [0.0])
        (record,) = load.records
        assert record.left
        assert not record.succeeded
        await slow.until(lambda engine: engine.counts.aborted == 1)
        load.close()


async def test_the_clients_own_cpu_is_reported(load: Load) -> None:
    await load.closed_loop([WHOLE], clients=4, seconds=0.3)
    assert 0 < load.cpu_seconds < 5


REFUSED = b"HTTP/1.1 %b\r\n%bcontent-length: 2\r\nconnection: close\r\n\r\n{}"


async def told(refusal: bytes, *, retries: bool) -> list[Record]:
    """Ask a server that refuses the first two requests so, and serves the next one."""
    return await answered(WHOLE, [refusal, refusal, REFUSED % (b"200 OK", b"")], retries=retries)


async def answered(request: Request, answers: list[bytes], *, retries: bool = False) -> list[Record]:
    """Send a request to a server that says these bytes, one after the other."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answers.pop(0))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1") as server:
        load = Load(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", retries=retries)
        await load.open_loop([request], [0.0])
        load.close()
    return load.records


@pytest.mark.parametrize("header", [b"retry-after-ms: 20\r\nretry-after: 60\r\n", b"retry-after: 0\r\n"])
@pytest.mark.parametrize("status", [b"429 Too Many Requests", b"503 Service Unavailable"])
async def test_a_refused_client_comes_back_when_it_is_told_to(status: bytes, header: bytes) -> None:
    first, second, third = await told(REFUSED % (status, header), retries=True)
    assert (first.attempt, second.attempt, third.attempt) == (1, 2, 3)
    assert (first.error, third.error) == (f"status {status[:3].decode()}", None)
    assert first.retry_after is not None
    assert first.ended is not None
    assert second.planned >= first.ended + first.retry_after


@pytest.mark.parametrize("header", [b"", b"retry-after: Wed, 21 Oct 2026 07:28:00 GMT\r\n"])
async def test_a_client_that_is_not_told_when_does_not_come_back(header: bytes) -> None:
    (record,) = await told(REFUSED % (b"503 Service Unavailable", header), retries=True)
    assert record.retry_after is None


async def test_clients_come_back_only_where_that_is_wanted() -> None:
    (record,) = await told(REFUSED % (b"503 Service Unavailable", b"retry-after: 1\r\n"), retries=False)
    assert record.retry_after == 1.0


async def test_nobody_comes_back_to_a_test_that_was_stopped() -> None:
    async with SimulatedEngine(faults=Faults(status=503)) as full:
        load = Load(full.address, retries=True)
        asking = asyncio.create_task(load.open_loop([WHOLE], [0.0]))
        await full.until(lambda engine: engine.counts.served == 1)
        load.stop()
        await asking
        load.close()
    assert len(load.records) == 1


DEEP = b"[" * 50_000 + b"]" * 50_000


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (b'{"choices":[{"text":"\xff"}]}', "an event that is not JSON"),
        (b'{"error":' + DEEP + b"}", "an event that is not JSON"),
        (b'{"choices":[{"text":"a"}]}', "a stream without its end marker, data: [DONE]"),
        (b"[DONE]", "a stream without content"),
    ],
)
async def test_a_stream_that_is_none_is_a_failure_with_its_reason(event: bytes, error: str) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    (record,) = await answered(STREAM, [head + b"data: " + event + b"\n\n"])
    assert record.error == error


@pytest.mark.parametrize(
    ("status", "body", "error", "detail"),
    [
        (b"200 OK", b'{"usage":"\xff"}', "a response that is not JSON", ""),
        (b"200 OK", b'{"usage":' + DEEP + b"}", "a response that is not JSON", ""),
        (b"200 OK", b'{"error":{"message":"no model"}}', "an error in place of a response", "no model"),
        (b"500 Internal Server Error", b'{"error":' + DEEP + b"}", "status 500", '{"error":' + "[" * 291),
    ],
)
async def test_a_body_that_is_none_is_a_failure_with_its_reason(
    status: bytes, body: bytes, error: str, detail: str
) -> None:
    head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
    (record,) = await answered(WHOLE, [head % (status, len(body)) + body])
    assert (record.error, record.detail) == (error, detail)
