"""Every event of a stream is checked: that it comes once, in its place, and not too late."""

import asyncio
import re
from collections.abc import Callable
from time import perf_counter_ns

import pytest

from loadtest.bench.deployment import DeploymentSpec
from loadtest.bench.stream_clients import StreamClients
from loadtest.simulator.instant import InstantEngine

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


async def heard(events: int, pace: float, streams: int = 3) -> StreamClients:
    """Read streams from an instant engine to their end."""
    engine = InstantEngine(pace=pace)
    stream_clients = StreamClients(
        f"http://127.0.0.1:{await engine.start()}", DeploymentSpec(), events=events, pace=pace
    )
    await stream_clients.open(streams)
    await stream_clients.ended()
    engine.close()
    return stream_clients


async def told(numbers: list[int], written: Callable[[int], int] | None = None, events: int = 5) -> StreamClients:
    """Read one stream of events with these numbers, from a server that says what it is told."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD)
        for number in numbers:
            moment = perf_counter_ns() if written is None else written(number)
            data = b'data: {"choices":[{"delta":{"content":"%d %d"}}]}\n\n' % (number, moment)
            writer.write(b"%x\r\n%s\r\n" % (len(data), data))
            await writer.drain()
            await asyncio.sleep(0.03)
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    stream_clients = StreamClients(
        f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", DeploymentSpec(), events=events, pace=0.001
    )
    await stream_clients.open(1)
    await stream_clients.ended()
    server.close()
    await server.wait_closed()
    return stream_clients


async def test_whole_streams_are_complete() -> None:
    seen = (await heard(20, 0.005)).tally
    assert (seen.complete, seen.failed, seen.lost, seen.repeated) == (3, 0, 0, 0)
    assert seen.events == 60
    assert len(seen.delays) == 60
    assert min(seen.delays) > 0


async def test_the_delay_is_from_the_engines_write() -> None:
    stream_clients = await told([0, 1], lambda _number: perf_counter_ns() - 2_000_000_000, events=2)
    assert min(stream_clients.tally.delays) > 2.0


@pytest.mark.parametrize(
    ("numbers", "lost", "repeated"),
    [([0, 1, 3, 4], 1, 0), ([0, 1, 1, 2, 3, 4], 0, 1), ([0, 2, 1, 3, 4], 1, 1), ([0, 1], 3, 0)],
    ids=["lost", "twice", "out of order", "too early an end"],
)
async def test_what_is_lost_or_comes_twice_is_counted(numbers: list[int], lost: int, repeated: int) -> None:
    seen = (await told(numbers)).tally
    assert (seen.lost, seen.repeated) == (lost, repeated)
    assert seen.failed == (1 if numbers[-1] != 4 else 0)


async def test_a_long_gap_counts_only_if_the_engine_did_not_make_it() -> None:
    # The events come 30 ms apart, which is thirty times the pace: once as they were written, once later than that.
    assert (await told([0, 1, 2, 3, 4])).tally.long_gaps == 0
    begin = perf_counter_ns()
    late = await told([0, 1, 2, 3, 4], lambda number: begin + number * 1_000_000)
    assert late.tally.long_gaps == 4
    assert late.tally.longest_gap >= 0.03


async def test_a_stream_that_breaks_failed() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    stream_clients = StreamClients(
        f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", DeploymentSpec(), events=5, pace=0.001
    )
    await stream_clients.open(1)
    await stream_clients.ended()
    server.close()
    assert stream_clients.tally.failed == 1
    assert re.match("a stream broke after 0 events", stream_clients.tally.failure)


async def test_open_streams_can_be_awaited_and_left() -> None:
    engine = InstantEngine(pace=0.005)
    stream_clients = StreamClients(
        f"http://127.0.0.1:{await engine.start()}", DeploymentSpec(), events=100_000, pace=0.005
    )
    await stream_clients.open(2)
    await stream_clients.until_all_have(3)
    assert repr(stream_clients) == "<StreamClients [2 streams open, 0 complete]>"
    await stream_clients.close()
    assert stream_clients.tally.failed == 0
    engine.close()


async def test_a_stream_that_stops_failed() -> None:
    engine = InstantEngine(pace=3600)
    stream_clients = StreamClients(f"http://127.0.0.1:{await engine.start()}", DeploymentSpec(), events=2, pace=0.001)
    await stream_clients.open(2)
    await stream_clients.ended(patience=0.05)
    assert stream_clients.tally.failed == 2
    assert stream_clients.tally.failure == "a stream did not go on after 1 events"
    engine.close()
