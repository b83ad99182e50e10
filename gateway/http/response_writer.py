"""The sending half of a client's connection: writes one response after the other, and notices a client that stalls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from time import perf_counter

from gateway.core.context import RequestContext
from gateway.core.errors import GatewayError
from gateway.http.application import InFlight
from gateway.http.listener import Listener
from gateway.http.request_head import STATUS_LINES, date_line, error_headers, without_rate_limits


class ConnectionState(Enum):
    """What may still be sent to a client."""

    OPEN = auto()
    """Responses to any number of requests."""
    CLOSING = auto()
    """Nothing but what has been written; no further request is answered."""
    LOST = auto()
    """Nothing: the connection is gone."""


# perf: enum members, see docs/python-idioms.md.
OPEN, CLOSING, LOST = ConnectionState


class ResponseWriter(asyncio.Protocol):
    """Writes the responses of one connection; it is the ``Downstream`` of the requests that come on it."""

    __slots__ = (
        "_in_flight",
        "_listener",
        "_paused_writing",
        "_read_since",
        "_request",
        "_state",
        "_unread",
        "transport",
        "write_raw",
    )

    transport: asyncio.Transport

    write_raw: Callable[[bytes], None]
    """Writes bytes as they are: a piece of a body of known length, or a chunk with its framing."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._state = OPEN
        self._request: RequestContext | None = None
        """The request that is being answered."""
        self._in_flight: InFlight | None = None
        """What is at work on it."""
        self._paused_writing = False
        self._unread = 0
        self._read_since = 0.0

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return self._request is not None

    @property
    def unwritten(self) -> int:
        """How many bytes of responses have not left yet."""
        return self.transport.get_write_buffer_size()

    def write_response(
        self,
        context: RequestContext,
        now: float,
        status: int,
        headers: bytes,
        body: bytes,
        length: int | None,
    ) -> None:
        """Write a response in one piece, or its beginning: as much of the body as there is.

        ``now`` is a ``perf_counter`` reading; ``headers`` are whole lines, to which is added what every response has;
        ``length`` is that of the whole body in bytes, ``None`` if that is not known. A response to HEAD says how long
        its body would be, and leaves it out.
        """
        head = context.head
        context.status = status
        if head.headers_down:
            headers += head.headers_down
        if context.response_headers:
            # perf: bytes-in, see docs/python-idioms.md.
            if context.reservation is not None and headers.find(b"-ratelimit-") >= 0:
                headers = without_rate_limits(headers)
            headers += context.response_headers
        if self._state is not OPEN or self._listener.closing or not context.keep_alive:
            context.keep_alive = False
            headers += b"connection: close\r\n"
        elif head.version == "1.0":
            headers += b"connection: keep-alive\r\n"
        if head.method == b"HEAD":
            body = b""
        # Two formats, because to write the length by itself first would take a sixth as long again.
        request_id, milliseconds = context.request_id.encode(), (now - context.received_at) * 1e3
        if length is not None:
            data = b"%b%bx-request-id: %b\r\nopenai-processing-ms: %d\r\ncontent-length: %d\r\n\r\n%b" % (
                STATUS_LINES[status],
                headers,
                request_id,
                milliseconds,
                length,
                body,
            )
        else:
            data = b"%b%bx-request-id: %b\r\nopenai-processing-ms: %d\r\n\r\n%b" % (
                STATUS_LINES[status],
                headers,
                request_id,
                milliseconds,
                body,
            )
        self.transport.write(data)

    def write_own(self, context: RequestContext, status: int, headers: bytes, body: bytes) -> None:
        """Write a response that the gateway itself gives, with the date that an engine's has already."""
        headers += date_line()
        self.write_response(context, perf_counter(), status, headers, body, len(body))

    def write_error(self, context: RequestContext, error: GatewayError) -> None:
        """Write an error as the whole response."""
        context.error = error
        body = self._listener.application.refused(context, error)
        self.write_own(context, error.status, b"content-type: application/json\r\n" + error_headers(error), body)

    def begin_stream(
        self, context: RequestContext, status: int, headers: bytes, length: int | None = None, first: bytes = b""
    ) -> None:
        """Write the head of a response whose body follows in pieces: of known ``length`` in bytes, or chunked.

        ``first`` is the first piece, where it is there already: one write costs half of two.
        """
        if length is None:
            if context.head.version == "1.1":
                headers += b"transfer-encoding: chunked\r\n"
                first = _chunk(first)
            else:
                context.keep_alive = False
        self.write_response(context, perf_counter(), status, headers, first, length)

    def write_chunk(self, context: RequestContext, data: bytes) -> None:
        """Write a piece of a body without known length."""
        self.write_raw(_chunk(data) if context.head.version == "1.1" else data)

    def end_stream(self, context: RequestContext, last: bytes = b"") -> None:
        """Write the end of a body without known length, and its ``last`` piece if there is one."""
        if context.head.version == "1.1":
            self.write_raw(_chunk(last) + b"0\r\n\r\n")
        elif last:
            self.write_raw(last)

    def cut(self) -> None:
        """Break the connection: the only honest end of a response that has begun and cannot be finished."""
        self.transport.abort()

    # asyncio.Protocol

    def pause_writing(self) -> None:
        """Stop the engine's side while the client reads slower than the engine writes."""
        self._paused_writing = True
        if self._in_flight is not None:
            self._in_flight.pause()

    def resume_writing(self) -> None:
        """Let the engine's side go on."""
        self._paused_writing = False
        if self._in_flight is not None:
            self._in_flight.resume()

    # inside

    def _stalled(self, now: float) -> bool:
        """Whether the client has left its response unread for too long: what there is of it, or all that is held.

        While there is room for more, it may not be the client that is slow.
        """
        before, self._unread = self._unread, self.transport.get_write_buffer_size()
        more_may_come = self._request is not None and not self._paused_writing
        if before == 0 or self._unread < before or more_may_come:
            self._read_since = now
            return False
        return now - self._read_since >= self._listener.timeouts.stalled_client


def _chunk(data: bytes) -> bytes:
    """Frame one piece of a chunked body; no piece is no chunk, because an empty one would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
