"""The receiving half of a client's connection: bytes become requests, as strictly as RFC 9112 wants it."""

from __future__ import annotations

import logging
from enum import Enum, auto
from time import perf_counter
from typing import Protocol

import httptools

from gateway.core.context import BodyLimit, RequestContext, RequestHead
from gateway.core.errors import (
    BadRequest,
    BodyMemoryExhausted,
    BodyTooLarge,
    GatewayError,
    HeadTooLarge,
    MalformedHttp,
    RequestTimeout,
)
from gateway.http.body_stream import BodyFlow, BodyStream, too_large
from gateway.http.head_cache import MOST_DIGITS, HeadCache
from gateway.http.listener import Listener
from gateway.http.request_head import fields, origin_form

_LOG = logging.getLogger(__name__)

_SMALL_BODY = 64 * 1024
"""Bodies of refused requests up to this size, in bytes, are received so that the connection lives on."""

_PIECE_BYTES = 64
"""Pieces of a body that are smaller than this on average are put together: each is an object of some forty bytes."""

_SMALL_PIECES = 1024
"""So many pieces are kept as they are, however small."""

_UNREPEATED = frozenset({b"expect", b"traceparent", b"transfer-encoding", b"x-request-id"})
"""A head with one of these is not remembered: the next one has another value, or it asks for more than a response."""


class ReceivingState(Enum):
    """What the next byte belongs to."""

    BETWEEN = auto()
    """The beginning of a request."""
    MESSAGE = auto()
    """The request that has begun."""
    EXPECTING = auto()
    """Its body, which the client holds back until it is told to go on (RFC 9110, section 10.1.1)."""
    STREAMING = auto()
    """Its body, which whoever answers the request reads as it arrives."""
    DISCARDING = auto()
    """Nothing: what follows cannot be told apart from what was refused."""


# perf: enum members, see docs/python-idioms.md.
BETWEEN, MESSAGE, EXPECTING, STREAMING, DISCARDING = ReceivingState


class RequestOwner(BodyFlow, Protocol):
    """The connection whose bytes are parsed."""

    client: str
    """The address that they come from."""

    def message_began(self) -> None:
        """The first byte of a request has come."""

    def message_expects(self) -> None:
        """The client waits to be told to go on with the body."""

    def message_ready(self, context: RequestContext) -> None:
        """A request can be answered: it is whole, or its body is a stream that has begun.

        It may be refused too, in a way that leaves the connection usable (``context.error``).
        """

    def message_refused(self, context: RequestContext) -> None:
        """What is being received is refused (``context.error``); nothing that follows can be trusted."""


class RequestParser:
    """Parses the requests of one connection, and remembers the last head, which mostly comes again."""

    __slots__ = (
        "_body",
        "_body_bytes",
        "_fresh",
        "_head_bytes",
        "_incoming",
        "_lines",
        "_listener",
        "_max_head_bytes",
        "_owner",
        "_parser",
        "_stream",
        "_unasked",
        "_url",
        "heads",
        "heads_snapshot",
        "state",
    )

    def __init__(self, listener: Listener, owner: RequestOwner) -> None:
        self._listener = listener
        self._owner = owner
        self._parser = httptools.HttpRequestParser(self)
        self._max_head_bytes = listener.limits.max_head_bytes
        self.state = BETWEEN
        self.heads: HeadCache[RequestHead] = HeadCache(enabled=listener.fast_paths)
        self.heads_snapshot: object = None
        """What the application decided by about the head that is known."""
        self._fresh = b""
        self._unasked = b""
        # Of the request that is being received.
        self._url = b""
        self._lines: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._incoming: RequestContext | None = None
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._stream: BodyStream | None = None

    def __repr__(self) -> str:
        return f"<RequestParser [{self.state.name.lower()}]>"

    def feed(self, data: bytes) -> None:
        """Parse what one read brought.

        A head is fed no further than it may be long. So its limit holds to the byte, however it is cut into packets;
        only a head that begins in the same read as the request before it ends may be longer, by that read.
        """
        if self.state is BETWEEN:
            self._fresh = data
        while data and self.state is not DISCARDING:
            room = self._max_head_bytes - self._head_bytes
            if len(data) <= room or self._incoming is not None:
                data = self._feed(data)
            else:
                data = self._feed(data[:room]) + data[room:]
        self._fresh = b""

    def discard(self) -> None:
        """Throw away what still comes."""
        self.state = DISCARDING
        self._stream = None
        self._drop_body()

    def refuse(self, error: GatewayError) -> None:
        """Refuse what is being received."""
        self.state = DISCARDING
        stream, self._stream = self._stream, None
        if stream is not None:
            # Its request is being answered already; the answer will be this error.
            self._incoming = None
            stream.fail(error)
            return
        context = self._incoming or RequestContext(RequestHead(self._owner.client))
        context.request_id = context.request_id or self._listener.request_ids.fresh()
        context.error = error
        context.keep_alive = False
        self._incoming = None
        self._drop_body()
        self._owner.message_refused(context)

    def forget(self) -> None:
        """Drop what has been received of a request that nobody waits for any more."""
        self._incoming = self._stream = None
        self._drop_body()

    def tick(self, now: float) -> None:
        """Refuse a body whose client has fallen silent; ``now`` is a ``perf_counter`` reading."""
        stream, longest = self._stream, self._listener.receive
        if stream is not None and stream.silent_for(now) >= longest:
            self.refuse(RequestTimeout(f"Nothing more of the body arrived for {longest:g} s."))

    # httptools

    def on_message_begin(self) -> None:
        """Start the clock of a request."""
        self.state = MESSAGE
        self._owner.message_began()

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
        head = RequestHead(self._owner.client, parser.get_method(), path, target, parser.get_http_version(), headers)
        self._incoming = context = RequestContext(head, request_id)
        _check_framing(head)
        length = int(headers.pop(b"content-length", b"0"))
        expected = headers.get(b"expect")
        try:
            self._admit(head, length, expected)
        except GatewayError as error:
            if error.closes or expected is not None or length > _SMALL_BODY or b"transfer-encoding" in headers:
                raise
            # A small body is cheaper to read and forget than a connection is to open again.
            context.error = error
            return
        expects = expected is not None and head.version == "1.1"
        if expects:
            self.state = EXPECTING
        if head.streamed is not None:
            self._begin_stream(context, head.streamed, expects=expects)
        elif expects:
            self._owner.message_expects()

    def on_body(self, body: bytes) -> None:
        """Collect the body, up to the limit, or let it stream on."""
        self._head_bytes = 0
        stream = self._stream
        if stream is not None:
            self.state = STREAMING
            stream.feed(body)
            return
        self.state = MESSAGE
        context, listener = self._incoming, self._listener
        if context is not None and context.error is not None:
            return
        self._body.append(body)
        self._body_bytes += len(body)
        listener.counts.body_bytes += len(body)
        if self._body_bytes > listener.max_body_bytes:
            raise self._body_too_large()
        if listener.counts.body_bytes > listener.max_total_body_bytes:
            raise self._memory_exhausted()

    def on_chunk_complete(self) -> None:
        """Put the pieces of a chunked body together where they are tiny.

        Until the next time the body grows by a share of itself, so all copies together are a few dozen of it at most.
        """
        pieces = self._body
        if (len(pieces) - _SMALL_PIECES) * _PIECE_BYTES > self._body_bytes:
            self._body = [b"".join(pieces)]

    def on_message_complete(self) -> None:
        """Hand over a whole request."""
        if self._unasked:
            return
        context = self._incoming
        assert context is not None
        self._incoming = None
        self.state = BETWEEN
        self._head_bytes = 0
        if self._lines:
            self._lines = []
        if self._stream is not None:
            self._end_stream(context)
            return
        body = self._body
        if body:
            # Its bytes count as held until its connection lets go of the request.
            context.body = body[0] if len(body) == 1 else b"".join(body)
            self._body = []
            self._body_bytes = 0
        context.keep_alive = self._parser.should_keep_alive() and not self._parser.should_upgrade()
        context.received_at = perf_counter()
        self._learn(context)
        self._owner.message_ready(context)

    # inside

    def _feed(self, data: bytes) -> bytes:
        """Parse, and return what has to be parsed again."""
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return self._read_on(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError as error:
            self.refuse(refusal(error.__context__))
        except httptools.HttpParserError as error:
            self.refuse(MalformedHttp(f"This is not valid HTTP/1.1: {error}."))
        else:
            if self._head_bytes >= self._max_head_bytes:
                self.refuse(HeadTooLarge(f"Request line and headers are over {self._max_head_bytes} bytes."))
        return b""

    def _read_on(self, rest: bytes) -> bytes:
        """Give the head that asked to upgrade, as if it had not asked, and what follows it (RFC 9110, section 7.8).

        The parser takes what follows for another protocol, but clients that hope for HTTP/2 send their body there.
        """
        unasked, self._unasked = self._unasked, b""
        if not unasked:  # A CONNECT, after which nothing is HTTP.
            self.state = DISCARDING
            return b""
        self._parser = httptools.HttpRequestParser(self)
        self._head_bytes = 0
        self._lines = []
        return unasked + rest

    def _admit(self, head: RequestHead, length: int, expected: bytes | None) -> None:
        """Let the application look at the head, and check what it announces. Raises ``GatewayError``."""
        self._listener.application.admit_head(head)
        limit = head.streamed
        if limit is not None:
            if length > limit.max_bytes:
                raise too_large(limit)
        elif length > self._listener.max_body_bytes:
            raise self._body_too_large()
        elif length and self._listener.counts.body_bytes + length > self._listener.max_total_body_bytes:
            raise self._memory_exhausted()
        if expected is not None and expected.lower() != b"100-continue":
            raise BadRequest("The only expectation known here is 100-continue.", param="expect")

    def _begin_stream(self, context: RequestContext, limit: BodyLimit, *, expects: bool) -> None:
        """Have a request answered while its body arrives. Until that is whole, the connection cannot be kept."""
        self._stream = context.stream = BodyStream(limit, self._owner, expected=expects)
        if not expects:
            self.state = STREAMING
        context.keep_alive = False
        self._owner.message_ready(context)

    def _end_stream(self, context: RequestContext) -> None:
        """Note that a body is whole that its reader has had the beginning of."""
        stream, self._stream = self._stream, None
        assert stream is not None
        if not context.status:
            context.keep_alive = self._parser.should_keep_alive() and not self._parser.should_upgrade()
        context.received_at = perf_counter()
        stream.end()

    def _learn(self, context: RequestContext) -> None:
        """Know the head of this request from now on, if the next one may well have the same."""
        self.heads.forget()
        # With any other content-length, the head must still be within its limit.
        room = self._max_head_bytes - MOST_DIGITS - (len(self._fresh) - len(context.body))
        plain = context.keep_alive and context.error is None and _UNREPEATED.isdisjoint(context.head.headers)
        if self._fresh and plain and room > 0:
            self.heads.learn(self._fresh, len(context.body), context.head)
            self.heads_snapshot = self._listener.application.snapshot

    def _forget_upgrade(self, headers: dict[bytes, bytes]) -> None:
        """Write the head again without its wish to upgrade; it is no longer than it was."""
        url, self._url = self._url, b""
        lines = [b"%b:%b\r\n" % pair for pair in headers.items() if pair[0] != b"upgrade"]
        version = self._parser.get_http_version().encode("ascii")
        self._unasked = b"%b %b HTTP/%b\r\n%b\r\n" % (self._parser.get_method(), url, version, b"".join(lines))

    def _drop_body(self) -> None:
        """Hold no more what has come of a body."""
        self._listener.counts.body_bytes -= self._body_bytes
        self._body = []
        self._body_bytes = 0

    def _memory_exhausted(self) -> BodyMemoryExhausted:
        """Give the error for a body that there is no room for, and count it."""
        listener = self._listener
        listener.counts.refused["max_total_body_bytes"] += 1
        return BodyMemoryExhausted(
            f"The bodies of all requests take {listener.counts.body_bytes} bytes already, of "
            f"{listener.max_total_body_bytes} that they may (limits.max_total_body_bytes); try again shortly.",
            retry_after=1.0,
        )

    def _body_too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"The body is over {self._listener.max_body_bytes} bytes (limits.max_body_bytes).")


def refusal(cause: BaseException | None) -> GatewayError:
    """Give the error that a client gets for ``cause``; one that is not meant for clients is logged."""
    if isinstance(cause, GatewayError):
        return cause
    _LOG.error("a request failed because of a mistake in the gateway", exc_info=cause)
    return GatewayError("The gateway made a mistake; its log says which.")


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
