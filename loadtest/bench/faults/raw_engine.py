"""An engine that says given bytes, or nothing, and notes when the gateway closes the connection of a request."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from time import perf_counter
from types import TracebackType
from typing import Self, cast

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_HEALTHY = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


class RawEngine:
    """Listens on a port of 127.0.0.1 and answers each POST with ``reply``; empty is silence.

    It never ends a response by itself beyond what ``reply`` says, and closes no connection.
    """

    def __init__(self) -> None:
        self.reply = b""
        self.asked: list[str] = []
        """The paths of all requests that arrived whole."""
        self.left: asyncio.Queue[float] = asyncio.Queue()
        """When a connection was closed on which a request had come, as ``perf_counter`` readings."""
        self.port = 0
        self._arrived: asyncio.Queue[str] = asyncio.Queue()
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()

    def __repr__(self) -> str:
        return f"<RawEngine {self.address} [{len(self.asked)} asked, {len(self._connections)} connections]>"

    @property
    def address(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def listen(self) -> None:
        """Listen, on the same port as before if it has."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(self), "127.0.0.1", self.port, reuse_address=True
        )
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Reset all connections, and listen no more."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self._connections):
            connection.transport.abort()

    async def arrived(self) -> str:
        """Wait for the next request that arrives whole, and return its path."""
        return await self._arrived.get()

    # called by the connections

    def opened(self, connection: _Connection) -> None:
        """Know a connection."""
        self._connections.add(connection)

    def received(self, path: str) -> bytes:
        """Note a request, and return what it is answered with."""
        self.asked.append(path)
        self._arrived.put_nowait(path)
        return self.reply

    def closed(self, connection: _Connection, *, was_asked: bool) -> None:
        """Forget a connection; note when it was closed if a request had come on it."""
        self._connections.discard(connection)
        if was_asked:
            self.left.put_nowait(perf_counter())


class _Connection(asyncio.Protocol):
    """One connection of the gateway; requests come one after the other."""

    transport: asyncio.Transport

    def __init__(self, engine: RawEngine) -> None:
        self._engine = engine
        self._buffer = b""
        self._was_asked = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._engine.opened(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        length = _LENGTH.search(head + b"\r\n")
        if not found or len(rest) < (0 if length is None else int(length[1])):
            return
        self._buffer = b""
        method, path, _ = head.split(b" ", 2)
        if method != b"POST":
            self.transport.write(_HEALTHY)
            return
        self._was_asked = True
        reply = self._engine.received(path.decode())
        if reply:
            self.transport.write(reply)

    def connection_lost(self, _error: Exception | None) -> None:
        self._engine.closed(self, was_asked=self._was_asked)


@contextmanager
def unaccepting(port: int) -> Iterator[None]:
    """Listen on a port without accepting, with no room left for one more connection: connecting takes for ever."""
    with ExitStack() as opened:
        listening = opened.enter_context(socket.socket())
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        listening.listen(0)
        for _ in range(3):
            filling = opened.enter_context(socket.socket())
            filling.setblocking(False)
            with suppress(BlockingIOError):
                filling.connect(("127.0.0.1", port))
        yield
