"""An engine that says exactly the bytes that a test gives it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.kit.eventually import PATIENCE

_HEALTHY = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


class ScriptedEngine:
    """Answers every POST with ``answer``, piece by piece, and keeps what it was asked in ``heads`` and ``bodies``.

    Every GET is answered as a probe, and its path kept in ``probes``.

    Between two pieces it waits until the test has called ``go_on``; a small piece arrives in one read. With ``closes``
    it closes the connection behind an answer.
    """

    def __init__(self) -> None:
        self.url = ""
        self.answer: list[bytes] = []
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.probes: list[bytes] = []
        self.closes = False
        self._asked = asyncio.Event()
        self._paused = asyncio.Event()
        self._going_on = asyncio.Event()

    async def asked(self) -> None:
        """Wait until the first request, a probe most likely."""
        async with asyncio.timeout(PATIENCE):
            await self._asked.wait()

    async def said_so_far(self) -> None:
        """Wait until all pieces so far are on their way."""
        async with asyncio.timeout(PATIENCE):
            await self._paused.wait()

    def go_on(self) -> None:
        """Say the next piece."""
        self._paused.clear()
        self._going_on.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it is closed."""
        with suppress(OSError, asyncio.IncompleteReadError):
            try:
                while not (self.closes and self.heads):
                    await self._answer(reader, writer)
            finally:
                writer.close()
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self._asked.set()
        if head.startswith(b"GET"):
            self.probes.append(head.split(b" ")[1])
            writer.write(_HEALTHY)
            return
        length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
        self.bodies.append(await reader.readexactly(int(length.partition(b":")[2])))
        self.heads.append(head)
        for number, piece in enumerate(self.answer):
            if number:
                self._paused.set()
                await self._going_on.wait()
                self._going_on.clear()
            writer.write(piece)
            await writer.drain()


def whole(body: bytes, status: bytes = b"200 OK", headers: bytes = b"") -> bytes:
    """Write a whole answer; ``headers`` are whole lines."""
    head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n" % (
        status,
        headers,
        len(body),
    )
    return head + body


def events(*pieces: bytes) -> list[bytes]:
    """Write a stream of events; each piece is a chunk of its own, and the last one ends the stream."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    first, *rest = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
    chunks = [head + first, *rest]
    chunks[-1] += b"0\r\n\r\n"
    return chunks


@asynccontextmanager
async def scripted_engine(tls: ssl.SSLContext | None = None) -> AsyncIterator[ScriptedEngine]:
    """Run such an engine on a port of its own, with TLS if there is a context for it."""
    engine = ScriptedEngine()
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(engine.serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    engine.url = f"https://localhost:{port}" if tls is not None else f"http://127.0.0.1:{port}"
    async with server:
        try:
            yield engine
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
