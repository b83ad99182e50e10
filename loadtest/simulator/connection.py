"""One client's connection: HTTP/1.1 in, responses out, in as many pieces as the faults ask for."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

import httptools

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request as it came over the wire."""

    method: str
    path: str
    """The target as sent, with its query."""
    headers: Headers
    """Names and values as sent, in their order."""
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the first value of a header, or ``None``."""
        wanted = name.lower().encode()
        return next((value.decode("latin-1") for key, value in self.headers if key.lower() == wanted), None)

    def header_names(self) -> list[str]:
        """Return the names of all headers in lower case, in their order."""
        return [name.decode("latin-1").lower() for name, _ in self.headers]


class ActiveRequest(Protocol):
    """One request's life, as its connection sees it."""

    def begin(self) -> None:
        """Start; the connection's ``finished`` or ``abandon`` may be called from here on."""

    def client_left(self) -> None:
        """The connection is lost; nothing more can be written."""

    def crashed(self) -> None:
        """The engine itself is about to reset the connection."""

    def resume(self) -> None:
        """The client read what was waiting: write on."""


class ConnectionOwner(Protocol):
    """What a connection needs of the engine that it belongs to."""

    draw: random.Random

    def opened(self, connection: Connection) -> None:
        """Count a new connection."""

    def closed(self, connection: Connection) -> None:
        """Forget a connection."""

    def received_request(self, connection: Connection, request: ReceivedRequest) -> ActiveRequest:
        """Return the exchange that will respond to a request; it calls ``connection.finished`` at its end."""

    def flow_changed(self) -> None:
        """Note that a connection became blocked or free."""

    def idle_limit(self) -> float | None:
        """Return the seconds after which an idle connection is closed."""


class Connection(asyncio.Protocol):
    """Parses requests, one at a time, and writes what their exchanges say."""

    transport: asyncio.Transport

    def __init__(self, site: ConnectionOwner) -> None:
        self.blocked = False
        self.segment_bytes = 0
        """When positive, writes leave in segments of 1 to so many bytes."""
        self._site = site
        self._parser = httptools.HttpRequestParser(self)
        self._path = b""
        self._headers: Headers = []
        self._body: list[bytes] = []
        self._pipelined: deque[ReceivedRequest] = deque()
        self._exchange: ActiveRequest | None = None
        self._keep_alive = True
        self._segments: deque[bytes] = deque()
        self._when_written: Callable[[], None] | None = None
        self._idle_timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Connection [{'idle' if self._exchange is None else 'busy'}{', blocked' if self.blocked else ''}]>"

    # what exchanges call

    def write(self, data: bytes) -> None:
        """Write, or cut into segments that leave one by one."""
        if not self.segment_bytes:
            self.transport.write(data)
            return
        was_empty = not self._segments
        at = 0
        while at < len(data):
            size = self._site.draw.randint(1, self.segment_bytes)
            self._segments.append(data[at : at + size])
            at += size
        if was_empty and self._segments:
            self._write_segment()

    def when_written(self, then: Callable[[], None]) -> None:
        """Call ``then`` as soon as the kernel has everything: now, if nothing waits."""
        if self._segments or self.blocked:
            self._when_written = then
        else:
            then()

    def close(self) -> None:
        """Close when everything written has left."""
        self.transport.close()

    def reset(self) -> None:
        """Reset the connection (RST) on TCP; close at once on a Unix socket."""
        # The transport's own socket object cannot set options under uvloop; a duplicate names the same connection.
        with socket.socket(fileno=os.dup(self.transport.get_extra_info("socket").fileno())) as same:
            if same.family != socket.AF_UNIX:
                same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def crash(self) -> None:
        """Reset the connection because the engine dies."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.crashed()
        self.reset()

    def abandon(self) -> None:
        """Forget the exchange, which is about to close or reset this connection in the middle of its response."""
        self._exchange = None

    def finished(self) -> None:
        """End an exchange whose response is written; the next request may begin."""
        self._exchange = None
        if not self._keep_alive:
            self.transport.close()
        elif self._pipelined:
            self._begin(self._pipelined.popleft())
        elif (limit := self._site.idle_limit()) is not None:
            self._idle_timer = asyncio.get_running_loop().call_later(limit, self.transport.close)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # uvloop's transports have asyncio's methods without being its classes.
        self.transport = cast(asyncio.Transport, transport)
        # Written means taken by the kernel: what waits in this process blocks, so that a response that the client did
        # not wait for is an aborted one.
        self.transport.set_write_buffer_limits(high=0)
        self._site.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Tell the exchange that its client left."""
        self._stop_idle_timer()
        self._segments.clear()
        self._when_written = None
        self._pipelined.clear()
        exchange, self._exchange = self._exchange, None
        self.blocked = False
        self._site.closed(self)
        if exchange is not None:
            exchange.client_left()

    def data_received(self, data: bytes) -> None:
        """Parse; what is not HTTP closes the connection as uvicorn does."""
        self._stop_idle_timer()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            text = b"Invalid HTTP request received."
            head = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n"
            self.transport.write(b"%scontent-length: %d\r\n\r\n%s" % (head, len(text), text))
            self.transport.close()

    def pause_writing(self) -> None:
        """Note that the client reads too slowly."""
        self.blocked = True
        self._site.flow_changed()

    def resume_writing(self) -> None:
        """Let the exchange write on."""
        self.blocked = False
        self._site.flow_changed()
        if self._segments:
            self._write_segment()
        elif self._when_written is not None:
            self._written()
        elif self._exchange is not None:
            self._exchange.resume()

    # httptools

    def on_message_begin(self) -> None:
        """Start a request."""
        self._path = b""
        self._headers = []
        self._body = []

    def on_url(self, url: bytes) -> None:
        """Collect the target, which may come in pieces."""
        self._path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect one header."""
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Let a client send its body that waits to be asked for it, as curl does with a large one."""
        if any(name.lower() == b"expect" and value.lower() == b"100-continue" for name, value in self._headers):
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Collect a piece of the body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Begin the request, or keep it until the one before it is answered."""
        method = self._parser.get_method().decode()
        self._keep_alive = self._parser.should_keep_alive()
        request = ReceivedRequest(method, self._path.decode("latin-1"), self._headers, b"".join(self._body))
        self._body = []
        if self._exchange is None:
            self._begin(request)
        else:
            self._pipelined.append(request)

    # inside

    def _begin(self, request: ReceivedRequest) -> None:
        self._exchange = self._site.received_request(self, request)
        self._exchange.begin()

    def _write_segment(self) -> None:
        if self.blocked or not self._segments or self.transport.is_closing():
            return
        self.transport.write(self._segments.popleft())
        if self._segments:
            asyncio.get_running_loop().call_soon(self._write_segment)
        elif not self.blocked:
            self._written()

    def _written(self) -> None:
        then, self._when_written = self._when_written, None
        if then is not None:
            then()

    def _stop_idle_timer(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
