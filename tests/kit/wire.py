"""A client that says exactly the bytes it is given, and believes an answer only when its framing is flawless."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import struct
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from tests.kit.eventually import PATIENCE

_STATUS_LINE = re.compile(rb"HTTP/1\.1 (\d{3}) ([\x20-\x7e]*)\r\n")
_HEADER_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*\r\n")
_CHUNK_LINE = re.compile(rb"([0-9a-fA-F]+)\r\n")
_END_OF_EVENT = re.compile(rb"\r?\n\r?\n")


class WireError(AssertionError):
    """What came is not what HTTP/1.1 allows, or not all of it came."""


@dataclass(frozen=True, slots=True)
class Head:
    """The status and headers of an answer; names in lower case, in their order."""

    status: int
    reason: str
    headers: list[tuple[str, str]]

    def all(self, name: str) -> list[str]:
        """Return the values of a header."""
        return [value for key, value in self.headers if key == name]

    def header(self, name: str) -> str | None:
        """Return the only value of a header, or ``None``. Raises ``WireError`` when there are several."""
        values = self.all(name)
        if len(values) > 1:
            raise WireError(f"{name} came {len(values)} times: {values}")
        return values[0] if values else None


@dataclass(frozen=True, slots=True)
class Response(Head):
    """A whole answer. A chunked body is put together."""

    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def events(self) -> list[bytes]:
        """The body as server-sent events, each with its lines as sent, without the empty line that ends it."""
        *events, rest = _END_OF_EVENT.split(self.body)
        if rest:
            raise WireError(f"the last event does not end: {rest[-100:]!r}")
        return events


class Wire:
    """One raw connection. Whatever is awaited here fails after ``timeout`` seconds instead of hanging."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, timeout: float = PATIENCE) -> None:
        self.reader = reader
        self.writer = writer
        self.timeout = timeout
        self._head: Head | None = None

    @classmethod
    async def connect(cls, host: str, port: int, *, limit: int = 2**20, timeout: float = PATIENCE) -> Self:  # noqa: ASYNC109
        """Connect over TCP. ``limit`` bounds what is read ahead: small, and the peer feels a slow reader."""
        return cls(*await asyncio.open_connection(host, port, limit=limit), timeout)

    @classmethod
    async def connect_to(cls, address: str, *, limit: int = 2**20, timeout: float = PATIENCE) -> Self:  # noqa: ASYNC109
        """Connect to ``http://host:port`` or ``unix:/path``."""
        if address.startswith("unix:"):
            path = address.removeprefix("unix:")
            return cls(*await asyncio.open_unix_connection(path, limit=limit), timeout)
        parts = urlsplit(address)
        assert parts.hostname is not None
        assert parts.port is not None
        return await cls.connect(parts.hostname, parts.port, limit=limit, timeout=timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def send(self, data: bytes) -> None:
        """Send these bytes."""
        self.writer.write(data)
        async with asyncio.timeout(self.timeout):
            await self.writer.drain()

    async def request(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> None:
        """Send a whole request; a ``body`` that is not bytes is sent as JSON."""
        lines = [f"{method} {path} HTTP/1.1", "host: test"]
        data = b""
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            if not headers or "content-type" not in headers:
                lines.append("content-type: application/json")
            lines.append(f"content-length: {len(data)}")
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        await self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + data)

    async def head(self) -> Head:
        """Read the next answer's head; ``answer`` or ``events`` reads its body."""
        async with asyncio.timeout(self.timeout):
            match = _STATUS_LINE.fullmatch(await self._line("a status line"))
            if match is None:
                raise WireError("that is no status line of HTTP/1.1")
            headers = []
            while (line := await self._line("a header")) != b"\r\n":
                field = _HEADER_LINE.fullmatch(line)
                if field is None:
                    raise WireError(f"that is no header: {line[:100]!r}")
                headers.append((field[1].decode().lower(), field[2].decode("latin-1")))
        self._head = Head(int(match[1]), match[2].decode(), headers)
        if self._head.all("content-length") and self._head.all("transfer-encoding"):
            raise WireError("an answer has both content-length and transfer-encoding")
        return self._head

    async def response(self, *, to_head: bool = False) -> Response:
        """Read a whole answer; with ``to_head`` it answers a HEAD request and has no body."""
        head = self._head or await self.head()
        self._head = None
        body = b"" if to_head else b"".join([piece async for piece in self._body(head)])
        return Response(head.status, head.reason, head.headers, body)

    async def events(self) -> AsyncGenerator[bytes]:
        """Read server-sent events as they come, each with its lines as sent, without the empty line that ends it."""
        rest = b""
        head, self._head = self._head or await self.head(), None
        async for piece in self._body(head):
            *events, rest = _END_OF_EVENT.split(rest + piece)
            for event in events:
                yield event
        if rest:
            raise WireError(f"the last event does not end: {rest[-100:]!r}")

    async def rest(self) -> bytes:
        """Read all that comes until the peer closes or resets the connection."""
        pieces = []
        async with asyncio.timeout(self.timeout):
            try:
                while piece := await self.reader.read(2**16):
                    pieces.append(piece)
            except ConnectionResetError:
                pieces.append(b"")
        return b"".join(pieces)

    async def heard(self) -> bytes:
        """Read what has come so far, which may be nothing: what to tell about a peer that did not do its part."""
        try:
            async with asyncio.timeout(0.1):
                return await self.reader.read(2**16)
        except TimeoutError:
            return b""

    async def closed(self) -> None:
        """Wait until the peer closes or resets the connection. Raises ``WireError`` if it says anything before."""
        rest = await self.rest()
        if rest:
            raise WireError(f"the peer closed, but said before: {rest[:200]!r}")

    def abort(self) -> None:
        """Reset the connection (RST; on a Unix socket: close at once)."""
        # The transport's own socket object cannot set options under uvloop; a duplicate names the same connection.
        with socket.socket(fileno=os.dup(self.writer.get_extra_info("socket").fileno())) as same:
            if same.family != socket.AF_UNIX:
                same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def close(self) -> None:
        """Close the connection (FIN)."""
        self.writer.close()
        async with asyncio.timeout(self.timeout):
            try:
                await self.writer.wait_closed()
            except (ConnectionResetError, BrokenPipeError):
                return

    async def _line(self, what: str) -> bytes:
        try:
            return await self.reader.readuntil(b"\n")
        except asyncio.IncompleteReadError as error:
            raise WireError(f"the peer closed instead of {what}; it said {error.partial!r}") from error
        except ConnectionResetError as error:
            raise WireError(f"the peer reset the connection instead of {what}") from error

    async def _exactly(self, size: int) -> bytes:
        try:
            return await self.reader.readexactly(size)
        except asyncio.IncompleteReadError as error:
            raise WireError(f"the peer closed {size - len(error.partial)} bytes too early") from error
        except ConnectionResetError as error:
            raise WireError("the peer reset the connection in the middle of its answer") from error

    async def _body(self, head: Head) -> AsyncGenerator[bytes]:
        if head.status in (204, 304):
            return
        if head.header("transfer-encoding") is not None:
            async for chunk in self._chunks(head):
                yield chunk
        elif (length := head.header("content-length")) is not None:
            async with asyncio.timeout(self.timeout):
                yield await self._exactly(int(length))
        else:
            yield await self.rest()

    async def _chunks(self, head: Head) -> AsyncGenerator[bytes]:
        if head.header("transfer-encoding") != "chunked":
            raise WireError(f"unknown transfer-encoding {head.header('transfer-encoding')!r}")
        while True:
            async with asyncio.timeout(self.timeout):
                line = await self._line("a chunk")
                match = _CHUNK_LINE.fullmatch(line)
                if match is None:
                    raise WireError(f"that is no chunk: {line[:100]!r}")
                data = await self._exactly(int(match[1], 16))
                if await self._exactly(2) != b"\r\n":
                    raise WireError("a chunk does not end where it said")
            if not data:
                return
            yield data
