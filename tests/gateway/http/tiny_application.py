"""An application that answers what a test tells it to, behind a real listener."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import cast

from gateway.core.context import BodyLimit, BodyReader, RequestContext, RequestHead
from gateway.core.errors import GatewayError, InvalidKey, Unavailable, UnknownUrl
from gateway.http.client_connection import ClientConnection
from gateway.http.downstream import Downstream
from gateway.http.listener import Listener
from tests.kit.eventually import eventually

STREAM_BYTES = 4_000_000

GET = b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n"


@dataclass(frozen=True)
class Limits:
    max_body_bytes: int = 1_000_000
    max_total_body_bytes: int = 10_000_000
    max_head_bytes: int = 2_000
    max_headers: int = 20
    max_connections: int = 100
    max_connections_per_client: int = 0


@dataclass(frozen=True)
class Timeouts:
    receive: float = 60.0
    keep_alive: float = 75.0
    stalled_client: float = 30.0


@dataclass
class Held:
    """An answer that the test itself writes, when it likes."""

    context: RequestContext
    connection: ClientConnection
    calls: list[str] = field(default_factory=list)
    told: asyncio.Event = field(default_factory=asyncio.Event)

    def client_left(self, reason: str) -> None:
        self.context.status = 499
        self._note(reason)

    def pause(self) -> None:
        self._note("pause")

    def resume(self) -> None:
        self._note("resume")

    async def until(self, call: str) -> None:
        async with asyncio.timeout(30):
            while call not in self.calls:
                self.told.clear()
                await self.told.wait()

    @property
    def stream(self) -> BodyReader:
        assert self.context.stream is not None
        return self.context.stream

    async def read_all(self) -> bytes:
        """Read the body to its end."""
        pieces = []
        async with asyncio.timeout(30):
            while piece := await self.stream.read():
                pieces.append(piece)
        return b"".join(pieces)

    def finish(self, body: bytes = b"done") -> None:
        self.connection.write_response(self.context, perf_counter(), 200, b"", body, len(body))
        self.connection.finished(self.context, perf_counter())

    def _note(self, call: str) -> None:
        self.calls.append(call)
        self.told.set()


class Tiny:
    """Five paths: /echo answers at once, /held when the test does, /refused never, /bug by mistake.

    /streamed is held too, and its body, of ``STREAM_BYTES`` at most, is a stream.
    """

    def __init__(self) -> None:
        self.over: list[tuple[bytes, int]] = []
        self.held: asyncio.Queue[Held] = asyncio.Queue()
        self.seen: list[RequestContext] = []
        self.snapshot: object = "the first snapshot"
        self.heads = 0

    def admit_head(self, head: RequestHead) -> None:
        self.heads += 1
        if head.path == b"/refused":
            raise UnknownUrl("There is nothing here.")
        if head.path == b"/locked":
            raise InvalidKey("Who are you?")
        if head.path == b"/streamed":
            head.streamed = BodyLimit(STREAM_BYTES, "the test's limit")
        if head.path == b"/bug-in-head":
            raise ZeroDivisionError

    def answer(self, context: RequestContext, connection: Downstream) -> Held | None:
        self.seen.append(context)
        if context.head.path in (b"/held", b"/streamed"):
            held = Held(context, cast(ClientConnection, connection))
            self.held.put_nowait(held)
            return held
        if context.head.path == b"/full":
            raise Unavailable("No room.", retry_after=2.0)
        if context.head.path == b"/bug":
            raise ZeroDivisionError
        if context.head.path == b"/late-bug":
            connection.begin_stream(context, 200, b"")
            raise ZeroDivisionError
        body = context.body or context.head.path
        connection.write_response(context, perf_counter(), 200, b"content-type: text/plain\r\n", body, len(body))
        return None

    def refused(self, context: RequestContext, error: GatewayError) -> bytes:
        return error.body()

    def ended(self, context: RequestContext, _now: float) -> None:
        self.over.append((context.head.path, context.status))


@dataclass
class Served:
    """A listener, what is behind it, and how to come in."""

    listener: Listener
    application: Tiny
    host: str
    port: int

    async def held(self) -> Held:
        async with asyncio.timeout(30):
            return await self.application.held.get()

    async def empty(self) -> None:
        """Wait until every connection has been counted out."""
        await eventually(lambda: not self.listener.connections)
        assert self.listener.per_client == {}


@asynccontextmanager
async def open_house(limits: Limits | None = None, timeouts: Timeouts | None = None) -> AsyncIterator[Served]:
    application = Tiny()
    listener = Listener(application, limits or Limits(), timeouts or Timeouts())
    server = await asyncio.get_running_loop().create_server(partial(ClientConnection, listener), "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    house = Served(listener, application, host, port)
    try:
        yield house
    finally:
        server.close()
        for connection in list(listener.connections):
            cast(ClientConnection, connection).cut()
        await house.empty()
        await server.wait_closed()


class FakeTransport(asyncio.Transport):
    """Notes what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return 0


def plain(received: bytes) -> bytes:
    """Leave out what differs from run to run: request ids and times."""
    return re.sub(rb"x-request-id: [^\r]+\r\nopenai-processing-ms: \d+\r\n", b"", received)
