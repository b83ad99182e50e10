"""The client's side of the wire: one ``ClientConnection`` per socket, driven by callbacks alone.

A connection parses requests (httptools), hands each to the ``Surface`` in the order they came, and writes answers in
that same order. It knows HTTP and deadlines, and nothing of models: what a request means is the surface's affair.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import perf_counter
from typing import Protocol

import httptools

from gateway.context import RequestContext
from gateway.errors import (
    BadRequest,
    BodyTooLarge,
    ConnectionsExhausted,
    GatewayError,
    HeadTooLarge,
    MalformedHttp,
    RequestTimeout,
    TooManyConnections,
)
from gateway.http import head

_PIPELINE_DEPTH = 32
"""Whole requests that may wait behind the one being answered before the socket is read no further."""

_SMALL_BODY = 64 * 1024
"""Bodies of refused requests up to this size, in bytes, are received so that the connection lives on."""

_LINGER_SECONDS = 2.0
"""How long a refused upload is read and thrown away, so that the refusal is not lost in a connection reset."""


class Answering(Protocol):
    """Whatever is at work on a connection's current request."""

    def client_left(self, reason: str) -> None:
        """Abort: nobody waits for the answer any more."""

    def pause(self) -> None:
        """Produce nothing more until ``resume``: the client does not keep up."""

    def resume(self) -> None:
        """Go on."""


class Surface(Protocol):
    """What the wire hands its requests to. Both methods refuse a request by raising a ``GatewayError``."""

    def admit_head(self, context: RequestContext) -> None:
        """Look at the head, before the body is received: path, method, key."""

    def answer(self, context: RequestContext, connection: ClientConnection) -> Answering | None:
        """Begin to answer a whole request; ``None`` if the answer is already written."""

    def refused(self, context: RequestContext, error: GatewayError) -> bytes:
        """Give the body of an error answer, in the shape that the request's endpoint uses."""

    def ended(self, context: RequestContext) -> None:
        """Account for a request that is over, whatever its end."""


class WireLimits(Protocol):
    """The part of ``[gateway.limits]`` that the wire enforces."""

    @property
    def max_body_bytes(self) -> int:
        """Largest body, in bytes."""

    @property
    def max_head_bytes(self) -> int:
        """Largest request line and headers together, in bytes."""

    @property
    def max_headers(self) -> int:
        """Most header lines."""

    @property
    def max_connections(self) -> int:
        """Most connections in all."""

    @property
    def max_connections_per_client(self) -> int:
        """Most connections of one address; 0 for no limit."""


class WireTimeouts(Protocol):
    """The part of ``[gateway.timeouts]`` that the wire enforces, in seconds."""

    @property
    def receive(self) -> float:
        """From a request's first byte to its last."""

    @property
    def keep_alive(self) -> float:
        """How long a connection may stay without a request."""

    @property
    def stalled_client(self) -> float:
        """How long a client may leave its answer unread."""


class Door:
    """All connections of one listening address: counts them, limits them, watches their deadlines."""

    def __init__(self, surface: Surface, limits: WireLimits, timeouts: WireTimeouts) -> None:
        self.surface = surface
        self.limits = limits
        self.timeouts = timeouts
        self.request_ids = head.RequestIds()
        self.connections: set[ClientConnection] = set()
        self.per_client: dict[str, int] = {}
        self.closing = False

    def __repr__(self) -> str:
        busy = sum(1 for connection in self.connections if connection.busy)
        return f"<Door [{len(self.connections)} connections, {busy} busy]>"

    def connect(self) -> ClientConnection:
        """Make the protocol of a new connection: the factory for ``loop.create_server``."""
        return ClientConnection(self)

    def enter(self, connection: ClientConnection, client: str) -> GatewayError | None:
        """Count a connection in, and say why it may not stay if it may not."""
        self.connections.add(connection)
        held = self.per_client.get(client, 0) + 1
        self.per_client[client] = held
        if len(self.connections) > self.limits.max_connections:
            return ConnectionsExhausted(
                "The gateway holds as many connections as it may; try again shortly.", retry_after=1.0
            )
        allowed = self.limits.max_connections_per_client
        if allowed and held > allowed:
            return TooManyConnections(
                f"This address holds {allowed} connections, as many as a client may; close some or reuse them.",
                retry_after=1.0,
            )
        return None

    def leave(self, connection: ClientConnection, client: str) -> None:
        """Count a connection out."""
        self.connections.discard(connection)
        held = self.per_client.get(client, 0) - 1
        if held > 0:
            self.per_client[client] = held
        else:
            self.per_client.pop(client, None)

    def tick(self, now: float) -> None:
        """Enforce the deadlines of every connection; ``now`` is a ``perf_counter`` reading."""
        for connection in list(self.connections):
            connection.tick(now)

    def close_idle(self) -> None:
        """Close every connection that has no request under way, and the others after their answer."""
        self.closing = True
        for connection in list(self.connections):
            connection.close_when_idle()


class ClientConnection(asyncio.Protocol):
    """One client's socket. At most one request is being answered at a time; the pipelined ones wait their turn."""

    __slots__ = (
        "_body",
        "_body_bytes",
        "_closing",
        "_deadline",
        "_discarding",
        "_door",
        "_head_bytes",
        "_headers",
        "_incoming",
        "_lost",
        "_parser",
        "_paused_reading",
        "_request",
        "_stalled_bytes",
        "_stalled_since",
        "_task",
        "_url",
        "_waiting",
        "client",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, door: Door) -> None:
        self._door = door
        self._parser = httptools.HttpRequestParser(self)
        self._incoming: RequestContext | None = None
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._head_bytes = 0
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._waiting: deque[RequestContext] = deque()
        self._request: RequestContext | None = None
        self._task: Answering | None = None
        self._closing = False
        self._discarding = False
        self._lost = False
        self._paused_reading = False
        self._deadline = perf_counter() + door.timeouts.keep_alive
        self._stalled_since: float | None = None
        self._stalled_bytes = 0
        self.client = ""

    def __repr__(self) -> str:
        state = "closed" if self._lost else "busy" if self.busy else "idle"
        return f"<ClientConnection {self.client or '-'} [{state}; {len(self._waiting)} pipelined]>"

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return self._request is not None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet a new socket, or refuse it where there are too many."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        peer = transport.get_extra_info("peername")
        self.client = peer[0] if isinstance(peer, tuple) else "unix"
        refusal = self._door.enter(self, self.client)
        if refusal is not None:
            self._refuse_now(refusal)

    def data_received(self, data: bytes) -> None:
        """Parse; everything else happens in the parser's callbacks."""
        if self._discarding:
            return
        if self._incoming is None:
            if self._head_bytes == 0:
                self._deadline = perf_counter() + self._door.timeouts.receive
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The request is answered as if it had not asked (RFC 9110, section 7.8); what follows it is not read.
            self._discarding = True
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            if not isinstance(cause, GatewayError):
                raise
            self._refuse_now(cause)
        except httptools.HttpParserError as error:
            self._refuse_now(MalformedHttp(f"This is not valid HTTP/1.1: {error}."))
        else:
            if self._incoming is None and self._head_bytes > self._door.limits.max_head_bytes:
                self._refuse_now(self._head_too_large())

    def eof_received(self) -> None:
        """Take a half-closed connection for a closed one: a client that has gone looks the same."""
        self._leave("client closed the connection")

    def connection_lost(self, _exc: Exception | None) -> None:
        """Abort what is under way and forget the rest."""
        self._lost = True
        self._leave("client closed the connection")
        self._door.leave(self, self.client)

    def pause_writing(self) -> None:
        """Stop the engine's side while the client reads slower than the engine writes."""
        self._stalled_since = perf_counter()
        self._stalled_bytes = self.transport.get_write_buffer_size()
        if self._task is not None:
            self._task.pause()

    def resume_writing(self) -> None:
        """Let the engine's side go on."""
        self._stalled_since = None
        if self._task is not None:
            self._task.resume()

    # httptools

    def on_url(self, url: bytes) -> None:
        """Collect the request target, which may come in pieces."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect one header; singletons that come twice are ambiguous and refused."""
        name = name.lower()
        headers = self._headers
        if name in headers:
            if name in head.SINGLETONS:
                raise MalformedHttp(f"The header {name.decode('ascii')} must come only once.")
            value = headers[name] + b", " + value
        headers[name] = value
        if len(headers) > self._door.limits.max_headers:
            raise HeadTooLarge(f"More than {self._door.limits.max_headers} headers.")

    def on_headers_complete(self) -> None:
        """Decide on the head alone, before a byte of the body is taken."""
        context = RequestContext(self.client)
        self._incoming = context
        headers = context.headers = self._headers
        self._headers = {}
        context.method = self._parser.get_method()
        context.version = self._parser.get_http_version()
        context.path, _, context.query = self._url.partition(b"?")
        self._url = b""
        if self._head_bytes > self._door.limits.max_head_bytes and not self._fits(context):
            raise self._head_too_large()
        context.request_id = self._door.request_ids.choose(headers.get(b"x-request-id"))
        if b"host" not in headers and context.version == "1.1":
            raise MalformedHttp("The header host is missing.")
        length = int(headers.get(b"content-length", b"0"))
        expected = headers.get(b"expect")
        try:
            if length > self._door.limits.max_body_bytes:
                raise self._body_too_large()
            self._door.surface.admit_head(context)
            if expected is not None and expected.lower() != b"100-continue":
                raise BadRequest("The only expectation known here is 100-continue.", param="expect")
        except GatewayError as error:
            if error.closes or expected is not None or length > _SMALL_BODY or b"transfer-encoding" in headers:
                raise
            # A small body is cheaper to read and forget than a connection is to open again.
            context.error = error
            return
        if expected is not None and self._request is None and not self._waiting:
            self.transport.write(head.CONTINUE)

    def on_body(self, body: bytes) -> None:
        """Collect the body, up to the limit."""
        self._body_bytes += len(body)
        if self._body_bytes > self._door.limits.max_body_bytes:
            raise self._body_too_large()
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Hand over a whole request, or let it wait for its turn."""
        context = self._incoming
        assert context is not None
        self._incoming = None
        self._head_bytes = 0
        body = self._body
        if body:
            context.body = body[0] if len(body) == 1 else b"".join(body)
            self._body = []
            self._body_bytes = 0
        context.keep_alive = self._parser.should_keep_alive() and b"upgrade" not in context.headers
        context.received_at = perf_counter()
        if self._request is None:
            self._begin(context)
            return
        self._waiting.append(context)
        if len(self._waiting) >= _PIPELINE_DEPTH and not self._paused_reading:
            self._paused_reading = True
            self.transport.pause_reading()

    # what the answering side calls

    def write_answer(self, context: RequestContext, status: int, headers: bytes, body: bytes) -> None:
        """Write one whole answer; ``headers`` are whole lines, without framing, which is added here."""
        context.status = status
        self.transport.write(
            b"%bcontent-length: %d\r\n\r\n%b" % (self._head(context, status, headers), len(body), body)
        )

    def write_error(self, context: RequestContext, error: GatewayError) -> None:
        """Write an error as the whole answer."""
        context.error = error
        headers = b"content-type: application/json\r\n" + head.error_headers(error)
        self.write_answer(context, error.status, headers, self._door.surface.refused(context, error))

    def begin_stream(self, context: RequestContext, status: int, headers: bytes, length: int | None = None) -> None:
        """Write the head of an answer whose body follows in pieces: of known ``length`` in bytes, or chunked."""
        context.status = status
        if length is not None:
            framing = b"content-length: %d\r\n\r\n" % length
        elif context.version == "1.1":
            framing = b"transfer-encoding: chunked\r\n\r\n"
        else:
            context.keep_alive = False
            framing = b"\r\n"
        self.transport.write(self._head(context, status, headers) + framing)

    def write_chunk(self, context: RequestContext, data: bytes) -> None:
        """Write a piece of a body without known length."""
        if context.version == "1.1":
            self.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        else:
            self.transport.write(data)

    def write_raw(self, data: bytes) -> None:
        """Write a piece of a body of known length."""
        self.transport.write(data)

    def end_stream(self, context: RequestContext) -> None:
        """Write the end of a body without known length."""
        if context.version == "1.1":
            self.transport.write(b"0\r\n\r\n")

    def cut(self) -> None:
        """Break the connection: the only honest end of an answer that has begun and cannot be finished."""
        self.transport.abort()

    def finished(self, context: RequestContext) -> None:
        """Take note that the current answer is complete, and go on to the next request or close."""
        if self._request is not context:
            return
        self._request = None
        self._task = None
        self._door.surface.ended(context)
        if self._lost:
            return
        if self._closing or not context.keep_alive or self._door.closing:
            self._shut()
            return
        self._deadline = perf_counter() + self._door.timeouts.keep_alive
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._next)

    def tick(self, now: float) -> None:
        """Enforce this connection's deadlines."""
        if self._check_stall(now):
            return
        if self._request is not None or now < self._deadline:
            return
        if self._discarding or self._closing:
            self.transport.abort()
        elif self._incoming is not None or self._head_bytes:
            limit = self._door.timeouts.receive
            self._refuse_now(RequestTimeout(f"The request did not arrive within {limit:g} s."))
        else:
            self._closing = True
            self.transport.close()

    def close_when_idle(self) -> None:
        """Close now, or after the answer under way."""
        if self._request is None and self._incoming is None and not self._discarding:
            self._closing = True
            self.transport.close()

    # inside

    def _begin(self, context: RequestContext) -> None:
        """Start to answer a request that has its turn."""
        self._request = context
        try:
            if context.error is not None:
                raise context.error
            task = self._door.surface.answer(context, self)
        except GatewayError as error:
            context.keep_alive = context.keep_alive and not error.closes
            self.write_error(context, error)
            self.finished(context)
            return
        if task is None:
            self.finished(context)
        elif self._request is context:
            self._task = task
            if self._stalled_since is not None:
                task.pause()

    def _next(self) -> None:
        """Take the next pipelined request."""
        if self._lost or self._closing or self._request is not None or not self._waiting:
            return
        context = self._waiting.popleft()
        if self._paused_reading and len(self._waiting) < _PIPELINE_DEPTH // 2:
            self._paused_reading = False
            self.transport.resume_reading()
        self._begin(context)

    def _head(self, context: RequestContext, status: int, headers: bytes) -> bytes:
        """Write the part of a head that every answer has."""
        milliseconds = int((perf_counter() - context.received_at) * 1000)
        closing = self._closing or self._door.closing or not context.keep_alive
        if closing:
            context.keep_alive = False
        return b"%b%b%bx-request-id: %b\r\nopenai-processing-ms: %d\r\n%b" % (
            head.status_line(status),
            headers,
            context.answer_headers,
            context.request_id.encode("ascii"),
            milliseconds,
            b"connection: close\r\n" if closing else b"connection: keep-alive\r\n" if context.version == "1.0" else b"",
        )

    def _refuse_now(self, error: GatewayError) -> None:
        """Refuse what is being received; nothing that follows on this connection can be trusted."""
        context = self._incoming or RequestContext(self.client)
        context.request_id = context.request_id or self._door.request_ids.choose(None)
        context.error = error
        context.keep_alive = False
        self._incoming = None
        self._body = []
        self._discarding = True
        if self._request is None and not self._waiting:
            self._begin(context)
        else:
            self._waiting.append(context)

    def _shut(self) -> None:
        """Close after the last answer; while a refused upload still arrives, close only the sending half at first."""
        self._closing = True
        if self._discarding and self.transport.can_write_eof():
            self._deadline = perf_counter() + _LINGER_SECONDS
            self.transport.write_eof()
        else:
            self.transport.close()

    def _check_stall(self, now: float) -> bool:
        """Abort a connection whose client has not read for too long; return whether it was."""
        unread = self.transport.get_write_buffer_size()
        if unread == 0:
            self._stalled_bytes = 0
            return False
        if unread != self._stalled_bytes or self._stalled_since is None:
            self._stalled_bytes = unread
            self._stalled_since = now
            return False
        if now - self._stalled_since < self._door.timeouts.stalled_client:
            return False
        self._leave("client stopped reading")
        self.transport.abort()
        return True

    def _leave(self, reason: str) -> None:
        """Tell the current answer that its client has gone, and account for every request that nobody waits for."""
        context, task = self._request, self._task
        self._waiting.clear()
        self._incoming = None
        self._task = None
        if context is None:
            return
        if task is not None:
            task.client_left(reason)
        self.finished(context)

    def _fits(self, context: RequestContext) -> bool:
        """Count the head itself: the chunk that completed it may have held a part of the body too."""
        size = len(context.path) + len(context.query) + sum(len(n) + len(v) + 4 for n, v in context.headers.items())
        return size <= self._door.limits.max_head_bytes

    def _head_too_large(self) -> HeadTooLarge:
        return HeadTooLarge(f"Request line and headers are over {self._door.limits.max_head_bytes} bytes.")

    def _body_too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"The body is over {self._door.limits.max_body_bytes} bytes (limits.max_body_bytes).")
