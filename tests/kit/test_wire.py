"""The test client believes only flawless answers, so it is tested against flawed ones."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from tests.kit.eventually import PATIENCE
from tests.kit.wire import Wire, WireError

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def connected_to(peer: Peer) -> AsyncIterator[Wire]:
    """Serve one connection as ``peer`` does."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await peer(reader, writer)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        async with await Wire.connect(host, port) as wire:
            yield wire


def says(data: bytes) -> Peer:
    """Return a peer that says this and closes."""

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return peer


async def test_an_answer_with_a_length() -> None:
    async with connected_to(says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A:  b \r\n\r\n{}")) as wire:
        answer = await wire.response()
        assert (answer.status, answer.reason, answer.body, answer.json) == (200, "OK", b"{}", {})
        assert answer.headers == [("content-length", "2"), ("x-a", "b")]
        await wire.closed()


async def test_an_answer_in_chunks() -> None:
    data = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n"
    async with connected_to(says(data)) as wire:
        assert (await wire.response()).body == b"abc0123456789"


async def test_an_answer_until_the_end() -> None:
    async with connected_to(says(b"HTTP/1.1 200 OK\r\n\r\nabc")) as wire:
        assert (await wire.response()).body == b"abc"


async def test_answers_without_body() -> None:
    data = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nHTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"
    async with connected_to(says(data)) as wire:
        assert (await wire.response(to_head=True)).header("content-length") == "9"
        assert (await wire.response()).status == 204
        assert (await wire.response()).status == 200


@pytest.mark.parametrize(
    "flawed",
    [
        b"",
        b"\x16\x03\x01\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\n\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nspace : a\r\n\r\n",
        b"HTTP/1.1 200 OK\r\na: b\x00\r\n\r\n",
        b"HTTP/1.1 200 OK\r\na: b\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\na",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\na",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nz\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
    ],
)
async def test_a_flawed_answer_is_not_believed(flawed: bytes) -> None:
    async with connected_to(says(flawed)) as wire:
        with pytest.raises(WireError):
            await wire.response()


async def test_events_come_whole_however_they_are_cut() -> None:
    chunks = b"3\r\nda:\r\n2\r\n 1\r\n1\r\n\n\r\n1\r\n\n\r\n9\r\n: c\n\nd: 2\r\n2\r\n\n\n\r\n0\r\n\r\n"
    async with connected_to(says(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunks)) as wire:
        assert [event async for event in wire.events()] == [b"da: 1", b": c", b"d: 2"]


async def test_an_event_that_does_not_end_is_an_error() -> None:
    async with connected_to(says(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\na: 1\n\nb: ")) as wire:
        answer = await wire.response()
        with pytest.raises(WireError, match="does not end"):
            _ = answer.events


async def test_a_request_is_written_as_it_is_told() -> None:
    received: list[bytes] = []

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.readuntil(b"}"))

    async with connected_to(peer) as wire:
        await wire.request("POST", "/a?b", {"c": 1}, {"X-D": "e"})
        await wire.closed()
    assert received == [
        b"POST /a?b HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: 8\r\nX-D: e\r\n\r\n"
        b'{"c": 1}'
    ]


async def test_closed_is_an_error_when_the_peer_says_more() -> None:
    async with connected_to(says(b"bye")) as wire:
        with pytest.raises(WireError, match="bye"):
            await wire.closed()


async def test_what_came_so_far_can_be_told() -> None:
    async with connected_to(says(b"HTTP/1.1 503 Serv")) as wire:
        assert await wire.heard() == b"HTTP/1.1 503 Serv"


async def test_a_silent_peer_has_said_nothing_so_far() -> None:
    silent = asyncio.Event()

    async def peer(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await silent.wait()

    async with connected_to(peer) as wire:
        assert await wire.heard() == b""
        silent.set()


async def test_a_silent_peer_does_not_hang_a_test() -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with connected_to(peer) as wire:
        wire.timeout = 0.01
        with pytest.raises(TimeoutError):
            await wire.response()
        with pytest.raises(TimeoutError):
            await wire.closed()


async def test_abort_resets() -> None:
    endings: asyncio.Queue[str] = asyncio.Queue()

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        except ConnectionResetError:
            endings.put_nowait("reset")
        else:
            endings.put_nowait("closed")

    async with connected_to(peer) as wire:
        wire.abort()
        assert await asyncio.wait_for(endings.get(), PATIENCE) == "reset"
    async with connected_to(peer) as wire:
        await wire.close()
        assert await asyncio.wait_for(endings.get(), PATIENCE) == "closed"
