"""The engines' side of the wire: connections to one address, kept open and used again.

An ``UpstreamConnection`` carries one exchange at a time and tells its ``Receiver`` what arrives, in callbacks. A
``ConnectionPool`` keeps the idle ones; the engine may close those whenever it likes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol, cast

import httptools

from gateway.http.address import Address
from gateway.http.response_head import ResponseHead, ResponseHeads

_LOG = logging.getLogger(__name__)

_MAX_HEAD_BYTES = 256 * 1024
"""A response's head beyond this many bytes is no response."""

_COPIED_BYTES = 64 * 1024
"""Below this size a request's body is cheaper to copy behind its head than to write by itself."""


class UpstreamError(Exception):
    """The exchange with a replica failed.

    ``answered`` says whether a first byte of a response had come, ``stale`` that an idle connection had been closed
    meanwhile, and ``timed_out`` that no connection was accepted in time.
    """

    def __init__(self, message: str, *, answered: bool = False, stale: bool = False, timed_out: bool = False) -> None:
        super().__init__(message)
        self.answered = answered
        self.stale = stale
        self.timed_out = timed_out


class Receiver(Protocol):
    """Who wants a response. The calls come in this order; ``receive_data`` as often as there is data."""

    __slots__ = ()

    def receive_whole(self, head: ResponseHead, body: bytes) -> bool:  # noqa: ARG002 - most decline
        """Take a response that one read brought, from head to end, or decline and be told of its parts one by one.

        Whoever takes it has let the connection go.
        """
        return False

    def receive_head(self, head: ResponseHead) -> None:
        """Take the response's status and headers."""

    def receive_data(self, data: bytes) -> None:
        """Take all of the body that one read from the socket brought."""

    def receive_end(self) -> None:
        """The response is complete; the connection is no longer this receiver's."""

    def receive_failure(self, error: UpstreamError) -> None:
        """No more will come; the connection is no longer this receiver's."""


Relay = tuple[Callable[[bytes], int], Callable[[bytes], None]]
"""Tells how many bytes of what was read are whole chunks to be passed on as they came, and writes those; the rest is
parsed."""


class ConnectionOwner(Protocol):
    """Who keeps connections to one address while they are idle, and what their responses' heads have taught it."""

    address: Address
    heads: ResponseHeads

    def closed(self, connection: UpstreamConnection) -> None:
        """Forget a connection."""

    def give_back(self, connection: UpstreamConnection) -> None:
        """Keep a connection whose exchange is complete."""


class UpstreamConnection(asyncio.Protocol):
    """One socket to a replica, used for one exchange after the other."""

    __slots__ = (
        "_answered",
        "_between_chunks",
        "_complete",
        "_fresh",
        "_head",
        "_head_bytes",
        "_head_ready",
        "_lines",
        "_parser",
        "_parts",
        "_paused",
        "_pool",
        "_receiver",
        "_reusable",
        "_reused",
        "idle_since",
        "relay",
        "transport",
    )

    transport: asyncio.Transport
    _head: ResponseHead

    def __init__(self, pool: ConnectionOwner) -> None:
        self._pool = pool
        self._parser = httptools.HttpResponseParser(self)
        self._receiver: Receiver | None = None
        self._lines: list[tuple[bytes, bytes]] = []
        self._parts: list[bytes] = []
        self._fresh = b""
        self._head_bytes = 0
        self._head_ready = False
        self._answered = False
        self._complete = False
        self._paused = False
        self._reusable = False
        self._reused = False
        self._between_chunks = False
        self.idle_since = 0.0
        self.relay: Relay | None = None
        """A receiver sets it once it has nothing to do with most events but to pass them on."""

    def __repr__(self) -> str:
        return f"<UpstreamConnection {self._pool.address.url} [{'idle' if self._receiver is None else 'busy'}]>"

    def send(self, head: bytes, body: bytes, receiver: Receiver) -> None:
        """Send one whole request; the response goes to ``receiver``."""
        self._receiver = receiver
        self._answered = False
        self._complete = False
        self._head_bytes = 0
        # Another empty list for an empty list would be work for nothing, on memory that nobody has looked at for long.
        if self._lines:
            self._lines = []
        if len(body) < _COPIED_BYTES:
            self.transport.write(head + body)
        else:
            self.transport.write(head)
            self.transport.write(body)

    def hand_to(self, receiver: Receiver) -> None:
        """Let another receiver have the rest of the response."""
        self._receiver = receiver

    def pause(self) -> None:
        """Read no further, so that the engine feels that its reader is slow."""
        if not self._paused and not self.transport.is_closing():
            self._paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._paused and not self.transport.is_closing():
            self._paused = False
            self.transport.resume_reading()

    def abort(self) -> None:
        """Close at once, which is what tells an engine to stop working."""
        self._receiver = None
        self.relay = None
        self.transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Parse, then tell the receiver once what this read brought; a chunk that is relayed need not be parsed."""
        relay = self.relay
        if relay is not None and self._between_chunks:
            passes, write = relay
            size = passes(data)
            if size == len(data):
                write(data)
                return
            if size:
                write(data[:size])
                data = data[size:]
        receiver = self._receiver
        if receiver is None:
            self.transport.abort()
            return
        if not self._head_bytes:
            if self._take_known(data, receiver):
                return
            self._fresh = data
        if not self._answered:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail("The engine switched to another protocol, which nobody had asked for.")
            return
        except httptools.HttpParserError as error:
            # What came before the mistake is good, and a response that is whole stays whole.
            self._reusable = False
            self._deliver(self._take_parts(), offer=False)
            cause = error.__context__ if isinstance(error, httptools.HttpParserCallbackError) else error
            self._fail(f"The engine sent what is not HTTP/1.1: {cause}.")
            return
        if not self._answered and self._head_bytes > _MAX_HEAD_BYTES:
            self._fail(f"The engine's response has a head of more than {_MAX_HEAD_BYTES} bytes.")
            return
        # What follows the last piece of the body is the end of its chunk, and nothing of the next one.
        parts = self._parts
        self._between_chunks = bool(parts) and data.endswith(b"\r\n") and data.endswith(parts[-1], 0, -2)
        self._deliver(self._take_parts(), offer=self._head_ready and self._complete)
        self._fresh = b""

    def eof_received(self) -> None:
        """Treat the end of the stream like the loss of the connection, which follows at once."""

    def connection_lost(self, exc: Exception | None) -> None:
        """End a response that lasts until the connection closes; fail any other."""
        self._pool.closed(self)
        self.relay = None
        receiver = self._receiver
        if receiver is None:
            return
        if self._answered and not self._head.framed and exc is None:
            self._receiver = None
            receiver.receive_end()
            return
        reason = f" ({exc})" if exc is not None else ""
        self._fail(f"The engine closed the connection before its response was complete{reason}.")

    # httptools

    def on_message_begin(self) -> None:
        """Note bytes behind a whole response: they would become the beginning of the next exchange's."""
        if self._complete:
            self._reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect one header; trailers are read and forgotten."""
        if not self._answered:
            self._lines.append((name, value))

    def on_headers_complete(self) -> None:
        """Note the status; interim responses (1xx) are passed over."""
        if self._answered:
            raise ValueError("a second response to one request")
        status = self._parser.get_status_code()
        lines, self._lines = self._lines, []
        if status < 100:
            raise ValueError(f"a status of {status}")
        if status < 200:
            return
        if self._head_bytes > _MAX_HEAD_BYTES:
            _check_head_bytes(lines)
        self._head = self._pool.heads.read(status, lines)
        self._head_ready = True
        self._answered = True

    def on_body(self, body: bytes) -> None:
        """Collect what this read brings."""
        self._parts.append(body)

    def on_message_complete(self) -> None:
        """Note the end of a final response."""
        if self._answered:
            self._complete = True
            # An engine that responds before it has read the request will not find the next one's beginning.
            self._reusable = self._parser.should_keep_alive() and self.transport.get_write_buffer_size() == 0
            if self._fresh and self._reusable and self._head.length is not None:
                self._pool.heads.learn(self._fresh, self._head.length, self._head.of_any_length())

    # inside

    def _take_known(self, data: bytes, receiver: Receiver) -> bool:
        """Deliver a response that came in one read, if its head has come before, from this replica or another."""
        match = self._pool.heads.match(data)
        if match is None:
            return False
        head, body = match
        self._head = head
        self._reusable = not self.transport.get_write_buffer_size()
        try:
            taken = receiver.receive_whole(head, body)
        except Exception:  # noqa: BLE001 - as in ``_deliver``
            self._give_up(receiver)
            return True
        if taken:
            self._finish()
        else:
            self._head_bytes = 1
            self._head_ready = self._answered = self._complete = True
            self._deliver(body, offer=False)
        return True

    def _take_parts(self) -> bytes:
        """Give all of the body that this read brought."""
        parts = self._parts
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        return data

    def _deliver(self, data: bytes, *, offer: bool) -> None:
        """Tell the receiver of head, data and end, as far as they came; it may abort in between.

        A whole response can be an ``offer`` first.
        """
        receiver = self._receiver
        if receiver is None:
            return
        try:
            if offer and receiver.receive_whole(self._head, data):
                self._head_ready = False
                self._finish()
                return
            if self._head_ready:
                self._head_ready = False
                receiver.receive_head(self._head)
                receiver = self._receiver
                if receiver is None:
                    return
            if data:
                receiver.receive_data(data)
            if self._complete and self._receiver is receiver:
                self._finish()
                receiver.receive_end()
        except Exception:  # noqa: BLE001 - a mistake of ours costs one request its response, and never hangs its client
            self._give_up(receiver)

    def _give_up(self, receiver: Receiver | None) -> None:
        """End a response at which its receiver made a mistake. Called where that exception is handled."""
        _LOG.exception("a response could not be relayed because of a mistake in the gateway")
        self.abort()
        if receiver is not None:
            receiver.receive_failure(UpstreamError("The gateway made a mistake; its log says which.", answered=True))

    def _finish(self) -> None:
        """Be ready for the next exchange, or close."""
        self._receiver = None
        self.relay = None
        self._reused = True
        if self._paused:
            self.resume()
        if self._reusable:
            self._pool.give_back(self)
        elif self.transport.get_write_buffer_size():
            # An engine that has responded may never read the rest of the request, and to close waits until it has.
            self.transport.abort()
        else:
            self.transport.close()

    def _fail(self, message: str) -> None:
        """Give the exchange up and the socket with it; an idle connection that was closed meanwhile is just stale."""
        receiver, self._receiver = self._receiver, None
        self.transport.abort()
        if receiver is not None:
            stale = self._reused and self._head_bytes == 0
            receiver.receive_failure(UpstreamError(message, answered=self._answered, stale=stale))


def _check_head_bytes(lines: Sequence[tuple[bytes, bytes]]) -> None:
    """Refuse a head that is too long; what has been read may also hold much of the body."""
    if sum(len(name) + len(value) + 4 for name, value in lines) > _MAX_HEAD_BYTES:
        raise ValueError(f"a head of more than {_MAX_HEAD_BYTES} bytes")
