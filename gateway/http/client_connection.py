"""The client's side of the wire: one ``ClientConnection`` per socket, driven by callbacks alone.

A connection parses requests (httptools), hands each to the ``Application`` in the order they came, and writes
responses in that same order. It knows HTTP and deadlines, and nothing of models: what a request means is the
application's affair.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import cast

import httptools

from gateway.core.context import RequestContext, RequestHead
from gateway.core.errors import (
    BadRequest,
    BodyTooLarge,
    GatewayError,
    HeadTooLarge,
    MalformedHttp,
    RequestTimeout,
)
from gateway.http.application import InFlight
from gateway.http.head_cache import MOST_DIGITS, CachedHead
from gateway.http.listener import Listener
from gateway.http.request_head import CONTINUE, STATUS_LINES, error_headers, fields, origin_form

_LOG = logging.getLogger(__name__)

_PIPELINE_DEPTH = 32
"""Whole requests that may wait behind the one being answered before the socket is read no further."""

_SMALL_BODY = 64 * 1024
"""Bodies of refused requests up to this size, in bytes, are received so that the connection lives on."""

_UNREPEATED = frozenset({b"expect", b"traceparent", b"transfer-encoding", b"x-request-id"})
"""A head with one of these is not remembered: the next one has another value, or it asks for more than a response."""

_LINGER_SECONDS = 2.0
"""How long a refused upload is read and thrown away, so that the refusal is not lost in a connection reset."""


class ClientConnection(asyncio.Protocol):
    """One client's socket. At most one request is being answered at a time; the pipelined ones wait their turn."""

    __slots__ = (
        "_begun",
        "_body",
        "_body_bytes",
        "_closing",
        "_continue_due",
        "_deadline",
        "_discarding",
        "_fresh",
        "_head_bytes",
        "_incoming",
        "_known",
        "_known_rules",
        "_lines",
        "_listener",
        "_lost",
        "_max_head_bytes",
        "_parser",
        "_paused_reading",
        "_paused_writing",
        "_read_since",
        "_request",
        "_task",
        "_unasked",
        "_unread",
        "_url",
        "_waiting",
        "client",
        "transport",
        "write_raw",
    )

    transport: asyncio.Transport

    write_raw: Callable[[bytes], None]
    """Writes bytes as they are: a piece of a body of known length, or a chunk with its framing."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._parser = httptools.HttpRequestParser(self)
        self._incoming: RequestContext | None = None
        self._fresh = b""
        self._known: CachedHead[RequestHead] | None = None
        self._known_rules: object = None
        self._unasked = b""
        self._url = b""
        self._lines: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._max_head_bytes = listener.limits.max_head_bytes
        self._begun = False
        self._continue_due = False
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._waiting: deque[RequestContext] = deque()
        self._request: RequestContext | None = None
        self._task: InFlight | None = None
        self._closing = False
        self._discarding = False
        self._lost = False
        self._paused_reading = False
        self._deadline = perf_counter() + listener.keep_alive
        self._paused_writing = False
        self._unread = 0
        self._read_since = 0.0
        self.client = ""

    def __repr__(self) -> str:
        state = "closed" if self._lost else "busy" if self.busy else "idle"
        return f"<ClientConnection {self.client or '-'} [{state}; {len(self._waiting)} pipelined]>"

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return self._request is not None

    @property
    def unwritten(self) -> int:
        """How many bytes of responses have not left yet."""
        return self.transport.get_write_buffer_size()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet a new socket, or refuse it where there are too many."""
        self.transport = cast(asyncio.Transport, transport)
        self.write_raw = self.transport.write
        peer = self.transport.get_extra_info("peername")
        self.client = peer[0] if isinstance(peer, tuple) else "unix"
        refusal = self._listener.add(self, self.client)
        if refusal is not None:
            self._refuse_now(refusal)

    def data_received(self, data: bytes) -> None:
        """Take a request with a known head as it is, and parse everything else: the parser's callbacks do the rest.

        A head is fed no further than it may be long. So its limit holds to the byte, however it is cut into packets;
        only a head that begins in the same read as the request before it ends may be longer, by that read.
        """
        if not self._begun:
            known = self._known
            if known is not None and (body := known.body(data)) is not None and self._take_known(known.meaning, body):
                return
            self._fresh = data
        while data and not self._discarding:
            room = self._max_head_bytes - self._head_bytes
            if len(data) <= room or self._incoming is not None:
                data = self._feed(data)
            else:
                data = self._feed(data[:room]) + data[room:]
        self._fresh = b""

    def _take_known(self, head: RequestHead, body: bytes) -> bool:
        """Begin to answer a request with a known head, if it has its turn and what was decided about it still holds."""
        listener = self._listener
        if (
            self._request is not None
            or self._waiting
            or self._closing
            or self._discarding
            or self._known_rules is not listener.application.snapshot
            or len(body) > listener.max_body_bytes
        ):
            return False
        self._begin(RequestContext(head, listener.request_ids.fresh(), body, perf_counter()))
        return True

    def _feed(self, data: bytes) -> bytes:
        """Parse, and return what has to be parsed again."""
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return self._read_on(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError as error:
            self._refuse_now(_refusal(error.__context__))
        except httptools.HttpParserError as error:
            self._refuse_now(MalformedHttp(f"This is not valid HTTP/1.1: {error}."))
        else:
            if self._head_bytes >= self._max_head_bytes:
                self._refuse_now(HeadTooLarge(f"Request line and headers are over {self._max_head_bytes} bytes."))
        return b""

    def _read_on(self, rest: bytes) -> bytes:
        """Give the head that asked to upgrade, as if it had not asked, and what follows it (RFC 9110, section 7.8).

        The parser takes what follows for another protocol, but clients that hope for HTTP/2 send their body there.
        """
        unasked, self._unasked = self._unasked, b""
        if not unasked:  # A CONNECT, after which nothing is HTTP.
            self._discarding = True
            return b""
        self._parser = httptools.HttpRequestParser(self)
        self._head_bytes = 0
        self._lines = []
        return unasked + rest

    def eof_received(self) -> None:
        """Take a half-closed connection for a closed one: a client that has gone looks the same."""
        self._leave("client_left")

    def connection_lost(self, _exc: Exception | None) -> None:
        """Abort what is under way and forget the rest."""
        self._leave("client_left")
        self._listener.remove(self, self.client)

    def pause_writing(self) -> None:
        """Stop the engine's side while the client reads slower than the engine writes."""
        self._paused_writing = True
        if self._task is not None:
            self._task.pause()

    def resume_writing(self) -> None:
        """Let the engine's side go on."""
        self._paused_writing = False
        if self._task is not None:
            self._task.resume()

    # httptools

    def on_message_begin(self) -> None:
        """Start the clock of a request."""
        self._begun = True
        self._deadline = perf_counter() + self._listener.receive

    def on_url(self, url: bytes) -> None:
        """Collect the request target, which may come in pieces."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect one header line; trailers are collected too, and forgotten."""
        self._lines.append((name, value))

    def on_headers_complete(self) -> None:
        """Decide on the head alone, before a byte of the body is taken."""
        listener, parser = self._listener, self._parser
        lines, self._lines = self._lines, []
        headers = fields(lines, listener.limits.max_headers)
        if b"upgrade" in headers and parser.should_upgrade():
            self._forget_upgrade(headers)
            return
        self._head_bytes = 0
        url, self._url = self._url, b""
        target = url if url.startswith(b"/") else origin_form(url)
        path = target.partition(b"?")[0]
        request_id = listener.request_ids.choose(headers.get(b"x-request-id"))
        head = RequestHead(self.client, parser.get_method(), path, target, parser.get_http_version(), headers)
        self._incoming = context = RequestContext(head, request_id)
        _check_framing(head)
        length = int(headers.pop(b"content-length", b"0"))
        expected = headers.get(b"expect")
        try:
            if length > listener.max_body_bytes:
                raise self._body_too_large()
            listener.application.admit_head(head)
            if expected is not None and expected.lower() != b"100-continue":
                raise BadRequest("The only expectation known here is 100-continue.", param="expect")
        except GatewayError as error:
            if error.closes or expected is not None or length > _SMALL_BODY or b"transfer-encoding" in headers:
                raise
            # A small body is cheaper to read and forget than a connection is to open again.
            context.error = error
            return
        if expected is not None and head.version == "1.1":
            self._continue_due = True
            self._invite()

    def on_body(self, body: bytes) -> None:
        """Collect the body, up to the limit."""
        self._head_bytes = 0
        self._continue_due = False
        self._body.append(body)
        self._body_bytes += len(body)
        if self._body_bytes > self._listener.max_body_bytes:
            raise self._body_too_large()

    def on_message_complete(self) -> None:
        """Hand over a whole request."""
        if self._unasked:
            return
        context = self._incoming
        assert context is not None
        self._incoming = None
        self._begun = False
        self._continue_due = False
        self._head_bytes = 0
        if self._lines:
            self._lines = []
        body = self._body
        if body:
            context.body = body[0] if len(body) == 1 else b"".join(body)
            self._body = []
            self._body_bytes = 0
        context.keep_alive = self._parser.should_keep_alive() and not self._parser.should_upgrade()
        context.received_at = perf_counter()
        self._learn(context)
        self._hand_over(context)

    def _learn(self, context: RequestContext) -> None:
        """Know the head of this request from now on, if the next one may well have the same."""
        self._known = None
        # With any other content-length, the head must still be within its limit.
        room = self._max_head_bytes - MOST_DIGITS - (len(self._fresh) - len(context.body))
        plain = context.keep_alive and context.error is None and _UNREPEATED.isdisjoint(context.head.headers)
        if self._fresh and plain and room > 0:
            self._known = CachedHead.learn(self._fresh, len(context.body), context.head)
            self._known_rules = self._listener.application.snapshot

    def _hand_over(self, context: RequestContext) -> None:
        """Begin to answer a request, or let it wait for its turn."""
        if self._closing:
            return
        if self._request is None and not self._waiting:
            self._begin(context)
            return
        self._waiting.append(context)
        if len(self._waiting) >= _PIPELINE_DEPTH and not self._paused_reading:
            self._paused_reading = True
            self.transport.pause_reading()

    def _forget_upgrade(self, headers: dict[bytes, bytes]) -> None:
        """Write the head again without its wish to upgrade; it is no longer than it was."""
        url, self._url = self._url, b""
        lines = [b"%b:%b\r\n" % pair for pair in headers.items() if pair[0] != b"upgrade"]
        version = self._parser.get_http_version().encode("ascii")
        self._unasked = b"%b %b HTTP/%b\r\n%b\r\n" % (self._parser.get_method(), url, version, b"".join(lines))

    # what the answering side calls

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
        if self._closing or self._listener.closing or not context.keep_alive:
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

    def write_error(self, context: RequestContext, error: GatewayError) -> None:
        """Write an error as the whole response."""
        context.error = error
        headers = b"content-type: application/json\r\n" + error_headers(error)
        body = self._listener.application.refused(context, error)
        self.write_response(context, perf_counter(), error.status, headers, body, len(body))

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

    def finished(self, context: RequestContext, now: float) -> None:
        """Take note that the current response is complete, and go on to the next request or close.

        ``now`` is a ``perf_counter`` reading.
        """
        if self._request is not context:
            return
        self._request = None
        self._task = None
        listener = self._listener
        listener.application.ended(context, now)
        if self._lost:
            return
        if self._closing or not context.keep_alive or listener.closing:
            self._shut()
            return
        self._deadline = now + (listener.receive if self._begun else listener.keep_alive)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._next)
        elif self._continue_due:
            self._invite()

    def tick(self, now: float) -> None:
        """Enforce this connection's deadlines."""
        if self._stalled(now):
            self._leave("client_stalled")
            self.transport.abort()
            return
        if self._lost or self._request is not None or self._waiting or now < self._deadline:
            return
        if self._closing:
            if self.transport.get_write_buffer_size() == 0:
                self.transport.abort()
        elif self._begun:
            limit = self._listener.receive
            self._refuse_now(RequestTimeout(f"The request did not arrive within {limit:g} s."))
        else:
            self._closing = True
            self.transport.close()

    def close_when_idle(self) -> None:
        """Close now, or after the response under way."""
        if self._request is None and not self._waiting and not self._begun and not self._closing:
            self._closing = True
            self.transport.close()

    # inside

    def _begin(self, context: RequestContext) -> None:
        """Start to answer a request that has its turn."""
        self._request = context
        try:
            if context.error is not None:
                raise context.error
            task = self._listener.application.answer(context, self)
        except Exception as cause:  # noqa: BLE001 - a mistake of ours costs one request a response of 500, no more
            error = _refusal(cause)
            context.keep_alive = context.keep_alive and not error.closes
            if context.status:
                context.error = error
                self.cut()
            else:
                self.write_error(context, error)
            self.finished(context, perf_counter())
            return
        if task is None:
            self.finished(context, perf_counter())
        elif self._request is context:
            self._task = task
            if self._paused_writing:
                task.pause()

    def _invite(self) -> None:
        """Ask for the body of a request that waits to be told to go on, once all responses before it are written."""
        if self._request is None and not self._waiting and not self._closing:
            self._continue_due = False
            self.write_raw(CONTINUE)

    def _next(self) -> None:
        """Take the next pipelined request."""
        if self._lost or self._closing or self._request is not None or not self._waiting:
            return
        context = self._waiting.popleft()
        if len(self._waiting) < _PIPELINE_DEPTH // 2:
            self._resume_reading()
        self._begin(context)

    def _refuse_now(self, error: GatewayError) -> None:
        """Refuse what is being received; nothing that follows on this connection can be trusted."""
        self._discarding = True
        if self._closing:
            return
        context = self._incoming or RequestContext(RequestHead(self.client))
        context.request_id = context.request_id or self._listener.request_ids.fresh()
        context.error = error
        context.keep_alive = False
        self._incoming = None
        self._body = []
        if self._request is None and not self._waiting:
            self._begin(context)
        else:
            self._waiting.append(context)

    def _shut(self) -> None:
        """Close after the last response: the sending half at first, while what still arrives is read and thrown away.

        Closing both halves at once would reset the connection under whatever the client is still sending, and with it
        destroy the response that the client has not read yet (RFC 9112, section 9.6).
        """
        self._closing = True
        self._waiting.clear()
        if self.transport.can_write_eof():
            self._discarding = True
            self._deadline = perf_counter() + _LINGER_SECONDS
            self._resume_reading()
            self.transport.write_eof()
        else:
            self.transport.close()

    def _resume_reading(self) -> None:
        if self._paused_reading:
            self._paused_reading = False
            self.transport.resume_reading()

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

    def _leave(self, reason: str) -> None:
        """Tell the current response that its client has gone, and account for every request that nobody waits for."""
        self._lost = True
        context, task = self._request, self._task
        self._waiting.clear()
        self._incoming = None
        self._task = None
        if context is None:
            return
        if task is not None:
            task.client_left(reason)
        self.finished(context, perf_counter())

    def _body_too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"The body is over {self._listener.max_body_bytes} bytes (limits.max_body_bytes).")


def _chunk(data: bytes) -> bytes:
    """Frame one piece of a chunked body; no piece is no chunk, because an empty one would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def _check_framing(head: RequestHead) -> None:
    """Refuse a head that others on the way could read differently (RFC 9112, sections 3.2 and 6.1)."""
    if head.version not in ("1.0", "1.1"):
        raise MalformedHttp("Only HTTP/1.1 and HTTP/1.0 are spoken here.")
    headers = head.headers
    if b"host" not in headers and head.version == "1.1":
        raise MalformedHttp("The header host is missing.")
    coding = headers.get(b"transfer-encoding")
    if coding is not None and (coding.lower() != b"chunked" or head.version == "1.0"):
        raise MalformedHttp("The only transfer-encoding known here is chunked, in HTTP/1.1.")


def _refusal(cause: BaseException | None) -> GatewayError:
    """Give the error that a client gets for ``cause``; one that is not meant for clients is logged."""
    if isinstance(cause, GatewayError):
        return cause
    _LOG.error("a request failed because of a mistake in the gateway", exc_info=cause)
    return GatewayError("The gateway made a mistake; its log says which.")
