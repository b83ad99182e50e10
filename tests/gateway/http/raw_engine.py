"""An engine of raw bytes, and a receiver that notes what it is told."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from gateway.http.address import Address
from gateway.http.connection_pool import ConnectionPool
from gateway.http.response_head import ResponseHead
from gateway.http.upstream import Receiver, UpstreamConnection, UpstreamError
from tests.kit.eventually import eventually

REQUEST = b"POST / HTTP/1.1\r\nhost: engine\r\ncontent-length: 2\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@dataclass
class Notes(Receiver):
    """A receiver that writes down what it is told."""

    told: list[object] = field(default_factory=list)
    error: UpstreamError | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def receive_head(self, head: ResponseHead) -> None:
        self.told.append((head.status, [(name.lower(), value) for name, value in head.lines]))

    def receive_data(self, data: bytes) -> None:
        self.told.append(data)

    def receive_end(self) -> None:
        self.told.append("end")
        self.over.set()

    def receive_failure(self, error: UpstreamError) -> None:
        self.error = error
        self.over.set()

    async def response(self) -> tuple[int, bytes]:
        async with asyncio.timeout(30):
            await self.over.wait()
        assert self.error is None
        assert self.told[-1] == "end"
        head, body = self.told[0], self.told[1:-1]
        assert isinstance(head, tuple)
        return head[0], b"".join(part for part in body if isinstance(part, bytes))

    async def failure(self) -> UpstreamError:
        async with asyncio.timeout(30):
            await self.over.wait()
        assert self.error is not None
        return self.error


@dataclass
class Engine:
    """The engine's end of every connection, in the order they came."""

    address: Address
    pool: ConnectionPool
    connections: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]]

    async def ask(self, body: bytes = b"{}") -> tuple[UpstreamConnection, Notes]:
        """Send a request on an idle connection, or on a new one."""
        connection = self.pool.take() or await connected(self.pool)
        notes = Notes()
        connection.send(REQUEST, body, notes)
        return connection, notes

    async def accept(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with asyncio.timeout(30):
            return await self.connections.get()

    async def answering(self, *pieces: bytes, close: bool = False) -> Notes:
        """Ask on a new connection, and have it answered with these pieces, each in a read of its own."""
        connection, notes = await self.ask()
        reader, writer = await self.accept()
        await reader.readexactly(len(REQUEST) + 2)
        for piece in pieces:
            before = len(notes.told), connection._head_bytes
            writer.write(piece)
            await eventually(lambda: notes.over.is_set() or (len(notes.told), connection._head_bytes) != before)  # noqa: B023
        if close:
            writer.close()
        return notes


async def connected(pool: ConnectionPool) -> UpstreamConnection:
    found: asyncio.Future[UpstreamConnection] = asyncio.get_running_loop().create_future()
    pool.connect(found.set_result, found.set_exception)
    async with asyncio.timeout(30):
        return await found


def ok(body: bytes, more: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nx-a: 1\r\n%b\r\n%b" % (len(body), more, body)
