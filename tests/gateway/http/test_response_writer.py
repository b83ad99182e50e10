"""Responses in literal bytes, and clients that do not read them."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter

from tests.gateway.http.tiny_application import GET, Held, Served, plain
from tests.kit.wire import Wire


async def test_an_answer_in_bytes(wire: Wire) -> None:
    await wire.send(b"GET /a?b=c HTTP/1.1\r\nhost: x\r\nx-request-id: mine-1\r\nconnection: close\r\n\r\n")
    assert re.sub(rb"ms: \d+", b"ms: 0", await wire.rest()) == (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\nx-request-id: mine-1\r\n"
        b"openai-processing-ms: 0\r\ncontent-length: 2\r\n\r\n/a"
    )


async def test_head_is_answered_without_a_body(wire: Wire) -> None:
    await wire.send(b"HEAD /a HTTP/1.1\r\nhost: x\r\n\r\n")
    answer = await wire.response(to_head=True)
    assert (answer.status, answer.header("content-length")) == (200, "2")
    await wire.send(b"HEAD /refused HTTP/1.1\r\nhost: x\r\n\r\n" + GET)
    assert (await wire.response(to_head=True)).status == 404
    assert (await wire.response()).body == b"/a"


async def test_http_1_0_gets_a_stream_that_ends_with_the_connection(house: Served, wire: Wire) -> None:
    await wire.send(b"GET /held HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
    held = await house.held()
    held.connection.begin_stream(held.context, 200, b"")
    held.connection.write_chunk(held.context, b"one")
    held.connection.write_chunk(held.context, b"two")
    held.connection.end_stream(held.context)
    held.connection.finished(held.context, perf_counter())
    assert plain(await wire.rest()) == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nonetwo"


async def test_a_stream_is_chunked(house: Served, wire: Wire) -> None:
    await wire.send(b"GET /held HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    held = await house.held()
    held.connection.begin_stream(held.context, 200, b"a: b\r\n")
    held.connection.write_chunk(held.context, b"0123456789abcdef")
    held.connection.end_stream(held.context)
    held.connection.finished(held.context, perf_counter())
    assert plain(await wire.rest()) == (
        b"HTTP/1.1 200 OK\r\na: b\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        b"10\r\n0123456789abcdef\r\n0\r\n\r\n"
    )


async def test_a_stream_of_known_length_is_not(house: Served, wire: Wire) -> None:
    await wire.send(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n")
    held = await house.held()
    held.connection.begin_stream(held.context, 200, b"", 6)
    held.connection.write_raw(b"one")
    held.connection.write_raw(b"two")
    held.connection.finished(held.context, perf_counter())
    answer = await wire.response()
    assert (answer.header("content-length"), answer.body) == ("6", b"onetwo")


async def test_an_answer_that_is_cut_does_not_look_finished(house: Served, wire: Wire) -> None:
    await wire.send(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n")
    held = await house.held()
    held.connection.begin_stream(held.context, 200, b"")
    held.connection.write_chunk(held.context, b"one")
    await wire.head()
    held.context.keep_alive = False
    held.connection.cut()
    held.connection.finished(held.context, perf_counter())
    assert await wire.rest() == b"3\r\none\r\n"
    assert house.application.over == [(b"/held", 200)]


@asynccontextmanager
async def slow_reader(house: Served) -> AsyncIterator[socket.socket]:
    """A client that reads only when told to, with as small a window as the kernel allows until then."""
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        client.setblocking(False)
        await loop.sock_connect(client, (house.host, house.port))
        await loop.sock_sendall(client, b"GET /held HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        yield client


async def read_all(client: socket.socket) -> bytes:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**20)
    received = bytearray()
    async with asyncio.timeout(10):
        while data := await asyncio.get_running_loop().sock_recv(client, 2**20):
            received += data
    return bytes(received)


def fill(held: Held) -> int:
    """Write until the client does not keep up; return how many bytes it took."""
    written = 0
    held.connection.begin_stream(held.context, 200, b"")
    while "pause" not in held.calls:
        held.connection.write_chunk(held.context, b"x" * 65_536)
        written += 65_536
    return written


async def test_a_client_that_stops_reading_pauses_its_answer_and_reading_on_resumes_it(house: Served) -> None:
    async with slow_reader(house) as client:
        held = await house.held()
        written = fill(held)
        reading = asyncio.ensure_future(read_all(client))
        await held.until("resume")
        held.connection.end_stream(held.context)
        held.connection.finished(held.context, perf_counter())
        assert (await reading).count(b"x" * 65_536) == written // 65_536
        assert held.calls == ["pause", "resume"]


async def test_a_client_that_does_not_read_on_is_left(house: Served) -> None:
    async with slow_reader(house):
        held = await house.held()
        fill(held)
        now = perf_counter()
        house.listener.tick(now)
        house.listener.tick(now + 29)
        assert held.calls == ["pause"]
        house.listener.tick(now + 31)
        assert held.calls == ["pause", "client_stalled"]
        await house.empty()
        assert house.application.over == [(b"/held", 499)]


async def test_while_there_is_room_for_more_it_may_be_the_engine_that_is_slow(house: Served) -> None:
    async with slow_reader(house):
        held = await house.held()
        held.connection.begin_stream(held.context, 200, b"")
        while not held.connection.unwritten:
            held.connection.write_chunk(held.context, b"x" * 16_384)
            await asyncio.sleep(0)
        now = perf_counter()
        house.listener.tick(now)
        house.listener.tick(now + 31)
        assert held.calls == []
        held.connection.finished(held.context, perf_counter())
        house.listener.tick(now + 60)
        assert not held.connection.transport.is_closing()
        house.listener.tick(now + 62)
        assert held.connection.transport.is_closing()


async def test_what_the_gateway_writes_is_no_sign_of_a_client_that_reads(house: Served) -> None:
    async with slow_reader(house):
        held = await house.held()
        fill(held)
        now = perf_counter()
        house.listener.tick(now)
        held.connection.write_chunk(held.context, b": keep-alive\n\n")
        house.listener.tick(now + 31)
        assert held.calls == ["pause", "client_stalled"]


async def test_a_finished_answer_is_not_cut_while_its_client_still_reads(house: Served) -> None:
    async with slow_reader(house) as client:
        held = await house.held()
        body = b"x" * 20_000_000
        held.finish(body)
        now = perf_counter()
        house.listener.tick(now)
        house.listener.tick(now + 29)
        assert (await read_all(client)).endswith(b"\r\n\r\n" + body)


async def test_a_finished_answer_that_nobody_reads_is_cut_in_the_end(house: Served) -> None:
    async with slow_reader(house):
        held = await house.held()
        held.finish(b"x" * 20_000_000)
        now = perf_counter()
        house.listener.tick(now)
        house.listener.tick(now + 31)
        await house.empty()
    assert house.application.over == [(b"/held", 200)]
