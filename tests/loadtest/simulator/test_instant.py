"""The engine that responses at once: only what a benchmark needs of it."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import perf_counter_ns
from typing import Any

import pytest

from loadtest.http_client import HttpClient
from loadtest.simulator.instant import InstantConnection, InstantEngine
from tests.kit.memory import MemoryTransport, until
from tests.kit.wire import Wire


@asynccontextmanager
async def instant(**options: Any) -> AsyncIterator[Wire]:
    """Run an engine, and yield a connection to it."""
    engine = InstantEngine(**options)
    port = await engine.start()
    try:
        async with await Wire.connect_to(f"http://127.0.0.1:{port}") as wire:
            yield wire
    finally:
        engine.close()


def numbers(events: bytes | bytearray) -> list[int]:
    return [int(found) for found in re.findall(rb'"content":"(\d+) ', events)]


async def test_any_request_has_the_same_answer() -> None:
    async with instant() as wire:
        bodies = []
        for method, path, body in (("POST", "/v1/chat/completions", {"model": "any"}), ("GET", "/health", None)):
            await wire.request(method, path, body)
            answer = await wire.response()
            bodies.append(answer.json)
            assert answer.status == 200
        assert bodies[0] == bodies[1]
        assert bodies[0]["usage"]["completion_tokens"] == 20


async def test_a_stream_has_as_many_events_as_tokens_are_asked_for() -> None:
    async with instant() as wire:
        before = perf_counter_ns()
        await wire.request("POST", "/v1/chat/completions", {"stream": True, "max_tokens": 50})
        *events, usage, done = (await wire.response()).events
        found = [re.search(rb'"content":"(\d+) (\d+)"', event) for event in events]
        assert [int(each[1]) for each in found if each] == list(range(50))
        stamps = [int(each[2]) for each in found if each]
        assert before <= stamps[0]
        assert stamps == sorted(stamps)
        assert b'"completion_tokens":50' in usage
        assert done == b"data: [DONE]"
        await wire.request("POST", "/v1/chat/completions", {"stream": True, "max_completion_tokens": 1})
        assert len((await wire.response()).events) == 3


async def test_a_body_may_come_in_pieces_and_be_large() -> None:
    async with instant() as wire:
        body = b'{"messages":"' + b"x" * 3_000_000 + b'","stream": true,"max_tokens":2}'
        await wire.send(b"POST / HTTP/1.1\r\nHost: x\r\nConte")
        await asyncio.sleep(0.01)
        await wire.send(b"nt-Length: %d\r\n\r\n" % len(body))
        await asyncio.sleep(0.01)
        await wire.send(body)
        assert len((await wire.response()).events) == 4


async def test_answers_and_events_can_take_their_time() -> None:
    async with instant(delay=0.05, pace=0.02) as wire:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await wire.request("POST", "/", {})
        await wire.response()
        assert loop.time() - began >= 0.045
        await wire.request("POST", "/", {"stream": True, "max_tokens": 4})
        stamps = [int(found) for found in re.findall(rb'"content":"\d+ (\d+)"', (await wire.response()).body)]
        assert stamps[-1] - stamps[0] >= 0.055e9


async def test_a_stream_waits_while_its_reader_does_not_keep_up() -> None:
    connection = InstantConnection(InstantEngine())
    transport = MemoryTransport(connection)
    connection.connection_made(transport)
    connection.data_received(b'POST / HTTP/1.1\r\ncontent-length: 33\r\n\r\n{"stream": true,"max_tokens": 50}')
    await until(lambda: b'"content":"9 ' in transport.written)
    connection.pause_writing()
    so_far = bytes(transport.written)
    for _ in range(10):
        await asyncio.sleep(0)
    assert transport.written == so_far
    connection.resume_writing()
    await until(lambda: transport.written.endswith(b"0\r\n\r\n"))
    assert numbers(transport.written) == list(range(50))


async def test_what_the_kernel_does_not_take_at_once_comes_later() -> None:
    async with instant(at_once=True) as wire:
        await wire.request("POST", "/", {"stream": True, "max_tokens": 40_000})
        received = bytearray()
        while not received.endswith(b"\r\n0\r\n\r\n"):
            received += await wire.reader.read(2**20)
        assert numbers(received) == list(range(40_000))


async def test_a_client_that_leaves_ends_its_stream() -> None:
    async def left(wait: Callable[[], Awaitable[object]]) -> None:
        async with instant(pace=0.001, delay=0.001) as wire:
            await wire.request("POST", "/", {"stream": True, "max_tokens": 1_000_000})
            await wait()
            wire.abort()
            await asyncio.sleep(0.02)

    before = len(asyncio.all_tasks())
    await left(lambda: asyncio.sleep(0.01))
    await left(lambda: asyncio.sleep(0))
    assert len(asyncio.all_tasks()) == before


async def test_all_events_can_be_written_at_once() -> None:
    async with instant(at_once=True) as wire:
        for events in (1, 66):
            await wire.request("POST", "/", {"stream": True, "max_tokens": events})
            answer = (await wire.response()).events
            assert numbers(b"".join(answer)) == list(range(events))
            assert (len(answer), answer[-1]) == (events + 2, b"data: [DONE]")


async def test_its_model_is_listed() -> None:
    async with instant(model="model-0") as wire:
        await wire.request("GET", "/v1/models")
        assert [each["id"] for each in (await wire.response()).json["data"]] == ["model-0"]


async def test_the_pace_can_be_changed_while_it_runs() -> None:
    engine = InstantEngine(at_once=True)
    address = f"http://127.0.0.1:{await engine.start()}"
    async with HttpClient(address) as client:
        assert (await client.put("/sim/pace", b"0.02")).text == "0.02"
    async with await Wire.connect_to(address) as wire:
        await wire.request("POST", "/", {"stream": True, "max_tokens": 4})
        stamps = [int(found) for found in re.findall(rb'"content":"\d+ (\d+)"', (await wire.response()).body)]
        assert stamps[-1] - stamps[0] >= 0.055e9
    engine.close()


@pytest.mark.parametrize("pace", [b"fast", b"-1", b"nan", b"inf", b""])
async def test_a_pace_that_is_none_is_refused_and_changes_nothing(pace: bytes) -> None:
    engine = InstantEngine(pace=0.5)
    address = f"http://127.0.0.1:{await engine.start()}"
    async with HttpClient(address) as client:
        refused = await client.put("/sim/pace", pace)
    assert (refused.status, refused.text) == (400, "the pace is a number of seconds, not negative\n")
    assert engine.pace == 0.5
    engine.close()


async def test_it_listens_at_as_many_addresses_as_asked_for() -> None:
    engine = InstantEngine()
    port = await engine.start(["127.0.0.1", "127.0.0.2"])
    for host in ("127.0.0.1", "127.0.0.2"):
        async with await Wire.connect_to(f"http://{host}:{port}") as wire:
            await wire.request("GET", "/health")
            assert (await wire.response()).status == 200
    assert repr(engine) == "<InstantEngine [2 listening]>"
    engine.close()
    assert repr(engine) == "<InstantEngine [0 listening]>"
