"""The clients count whole responses, whole streams, and what fails."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from loadtest.bench.clients import Client, ClientPool, Tally, request
from loadtest.simulator import Faults, SimulatedEngine
from loadtest.simulator.instant import InstantEngine


@pytest.fixture
async def address() -> AsyncIterator[str]:
    """An instant engine."""
    engine = InstantEngine()
    yield f"http://127.0.0.1:{await engine.start()}"
    engine.close()


@pytest.mark.parametrize("size", [200, 2000, 1_000_000])
def test_a_body_has_the_size_that_is_asked_for(size: int) -> None:
    head, _, body = request("h", "k", "model-0", body_bytes=size).partition(b"\r\n\r\n")
    assert len(body) == size
    assert b"content-length: %d" % size in head
    assert b"authorization: Bearer k" in head
    assert "stream" not in msgspec.json.decode(body)


def test_a_stream_asks_for_its_events_and_usage() -> None:
    body = msgspec.json.decode(request("h", "k", "m", events=7).partition(b"\r\n\r\n")[2])
    assert (body["stream"], body["max_tokens"], body["stream_options"]) == (True, 7, {"include_usage": True})


async def test_only_the_busy_ask_without_pause(address: str) -> None:
    clients = ClientPool(address)
    await clients.open([[request("h", "k", "m")]] * 300)
    assert repr(clients) == "<ClientPool [300 clients, 0 active]>"
    await clients.send_once()
    assert clients.tally.responses == 300
    tally = await clients.run_busy(2, 0.1)
    assert tally.responses > 10
    assert len(tally.seconds) == tally.responses
    assert tally.failed == 0
    await clients.close()


async def test_those_who_ask_steadily_ask_as_often_as_they_should(address: str) -> None:
    clients = ClientPool(address)
    await clients.open([[request("h", "k", "m")]] * 4)
    tally = await clients.run_at_rate(2, 0.5, rate=40.0)
    assert 2 <= tally.responses <= 22
    assert tally.failed == 0
    assert repr(clients) == "<ClientPool [4 clients, 0 active]>"
    assert (await clients.run_busy(2, 0.1)).responses > 10
    await clients.close()


@pytest.mark.parametrize("events", [1, 10, 1000])
async def test_the_events_of_streams_are_counted(address: str, events: int) -> None:
    clients = ClientPool(address)
    await clients.open([[request("h", "k", "m", events=events)]] * 3)
    tally = await clients.run_busy(3, 0.1)
    await clients.close()
    assert tally.failed == 0
    assert tally.responses >= 3
    assert tally.events == tally.responses * (events + 2)


async def test_what_is_not_answered_with_200_failed() -> None:
    async with SimulatedEngine(faults=Faults(status=500)) as engine:
        clients = ClientPool(engine.address)
        await clients.open([[request("h", "k", "sim")]])
        await clients.send_once()
        await clients.close()
    assert clients.tally.failed == 1
    assert clients.tally.failure.startswith("HTTP/1.1 500")


async def test_a_connection_that_is_lost_failed() -> None:
    async with SimulatedEngine() as engine:
        clients = ClientPool(engine.address)
        await clients.open([[request("h", "k", "sim")]])
        engine.crash()
        await engine.until(lambda e: e.connections == 0)
        while not clients.tally.failed:  # noqa: ASYNC110 - the client's side learns of it a moment later
            await asyncio.sleep(0.001)
        assert "closed a connection" in clients.tally.failure
        await clients.close()


async def test_a_connection_that_is_lost_is_not_waited_for() -> None:
    async with SimulatedEngine(faults=Faults(crash_after=0)) as engine:
        clients = ClientPool(engine.address)
        await clients.open([[request("h", "k", "sim")]] * 3)
        tally = await clients.run_busy(2, 0.05)
        assert tally.failed == 3
        assert repr(clients) == "<ClientPool [3 clients, 0 active]>"
        await clients.close()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 1000])
async def test_answers_may_come_in_any_pieces(size: int) -> None:
    events = b"".join(
        b"%x\r\n%s\r\n" % (len(each), each) for each in (b"data: 1\n\n", b"data: 2\n\n", b"data: [DONE]\n\n")
    )
    stream = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + events + b"0\r\n\r\n"
    whole = b"HTTP/1.1 200 OK\r\nx: y\r\nContent-Length: 5\r\n\r\nhello"
    answered: list[Client] = []
    tally = Tally()
    client = Client([b""], answered.append, tally)
    for answer in (stream, whole, stream, whole):
        for at in range(0, len(answer), size):
            client.data_received(answer[at : at + size])
    assert (len(answered), tally.responses, tally.events, tally.failed) == (4, 4, 6, 0)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 1000])
async def test_a_proxy_may_put_the_borders_of_chunks_anywhere(size: int) -> None:
    body = b"data: 1\n\ndata: 22\n\ndata: [DONE]\n\n"
    for border in range(len(body) + 1):
        chunks = [each for each in (body[:border], body[border:]) if each]
        answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        answer += b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in chunks) + b"0\r\n\r\n"
        tally = Tally()
        client = Client([b""], lambda _client: None, tally)
        for at in range(0, len(answer), size):
            client.data_received(answer[at : at + size])
        assert (tally.responses, tally.events) == (1, 3), f"cut at {border}"
