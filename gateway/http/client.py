"""The engines' side of the wire: connections to one address, kept open and used again.

An ``UpstreamConnection`` carries one exchange at a time and tells its ``Receiver`` what arrives, in callbacks. A
``ConnectionPool`` keeps the idle ones; the engine may close those whenever it likes.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol, cast
from urllib.parse import urlsplit

import httptools

from gateway.http.answer import AnswerHead
from gateway.http.known import KnownHead, LearnedHeads

_LOG = logging.getLogger(__name__)

_MAX_HEAD_BYTES = 256 * 1024
"""An answer's head beyond this many bytes is no answer."""

_COPIED_BYTES = 64 * 1024
"""Below this size a request's body is cheaper to copy behind its head than to write by itself."""

_MAX_IDLE = 1024
"""Idle connections kept per address; more than this were a burst, and are closed as they become idle."""

_HOST = re.compile(r"[A-Za-z0-9._:-]+")
"""What may stand in the header ``host``; names in other alphabets are written in Punycode."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a replica listens: a Unix socket, or a host and port with or without TLS, below ``prefix``."""

    url: str
    host: str
    port: int
    path: str | None
    tls: bool
    prefix: bytes
    host_header: bytes

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read ``http://host:port/prefix``, ``https://…`` or ``unix:/path/to.sock``. Raises ``ValueError``."""
        if url.startswith("unix:"):
            path = url.removeprefix("unix:").removeprefix("//")
            if not path:
                raise ValueError(f"{url!r} names no socket; expected unix:/path/to.sock")
            return cls(url, "localhost", 0, path, tls=False, prefix=b"", host_header=b"localhost")
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or not _HOST.fullmatch(parts.hostname):
            raise ValueError(f"{url!r} is not an address; expected http://HOST:PORT, https://HOST or unix:/PATH")
        tls = parts.scheme == "https"
        default_port = 443 if tls else 80
        port = parts.port or default_port
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        host_header = (host if port == default_port else f"{host}:{port}").encode("ascii")
        prefix = parts.path.rstrip("/").removesuffix("/v1").encode("ascii")
        return cls(url, parts.hostname, port, None, tls=tls, prefix=prefix, host_header=host_header)


class UpstreamError(Exception):
    """The exchange with a replica failed. ``answered`` says whether a first byte of an answer had come."""

    def __init__(self, message: str, *, answered: bool = False, stale: bool = False) -> None:
        super().__init__(message)
        self.answered = answered
        self.stale = stale


class Receiver(Protocol):
    """Who wants an answer. The calls come in this order; ``answer_data`` as often as there is data."""

    __slots__ = ()

    def answer_whole(self, head: AnswerHead, body: bytes) -> bool:  # noqa: ARG002 - most decline
        """Take an answer that one read brought, from head to end, or decline and be told of its parts one by one.

        Whoever takes it has let the connection go.
        """
        return False

    def answer_head(self, head: AnswerHead) -> None:
        """Take the answer's status and headers."""

    def answer_data(self, data: bytes) -> None:
        """Take all of the body that one read from the socket brought."""

    def answer_end(self) -> None:
        """The answer is complete; the connection is no longer this receiver's."""

    def answer_failed(self, error: UpstreamError) -> None:
        """No more will come; the connection is no longer this receiver's."""


Relay = tuple[Callable[[bytes], int], Callable[[bytes], None]]
"""Tells how many bytes of what was read are whole chunks to be passed on as they came, and writes those; the rest is
parsed."""


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
    _head: AnswerHead

    def __init__(self, pool: ConnectionPool) -> None:
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
        """Send one whole request; the answer goes to ``receiver``."""
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
        """Let another receiver have the rest of the answer."""
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
            # What came before the mistake is good, and an answer that is whole stays whole.
            self._reusable = False
            self._deliver(self._take_parts(), offer=False)
            self._fail(f"The engine sent what is not HTTP/1.1: {error}.")
            return
        if not self._answered and self._head_bytes > _MAX_HEAD_BYTES:
            self._fail(f"The engine's answer has a head of more than {_MAX_HEAD_BYTES} bytes.")
            return
        # What follows the last piece of the body is the end of its chunk, and nothing of the next one.
        parts = self._parts
        self._between_chunks = bool(parts) and data.endswith(b"\r\n") and data.endswith(parts[-1], 0, -2)
        self._deliver(self._take_parts(), offer=self._head_ready and self._complete)
        self._fresh = b""

    def eof_received(self) -> None:
        """Treat the end of the stream like the loss of the connection, which follows at once."""

    def connection_lost(self, exc: Exception | None) -> None:
        """End an answer that lasts until the connection closes; fail any other."""
        self._pool.closed(self)
        receiver = self._receiver
        if receiver is None:
            return
        if self._answered and not self._head.framed and exc is None:
            self._receiver = None
            receiver.answer_end()
            return
        reason = f" ({exc})" if exc is not None else ""
        self._fail(f"The engine closed the connection before its answer was complete{reason}.")

    # httptools

    def on_message_begin(self) -> None:
        """Note bytes behind a whole answer: they would become the beginning of the next exchange's."""
        if self._complete:
            self._reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect one header; trailers are read and forgotten."""
        if not self._answered:
            self._lines.append((name, value))

    def on_headers_complete(self) -> None:
        """Note the status; interim answers (1xx) are passed over."""
        if self._answered:
            raise ValueError("a second answer to one request")
        status = self._parser.get_status_code()
        lines, self._lines = self._lines, []
        if status < 200:
            return
        if self._head_bytes > _MAX_HEAD_BYTES:
            _check_head_bytes(lines)
        head = self._pool.last_head
        if head is None or head.status != status or head.lines != lines:
            head = self._pool.last_head = AnswerHead.read(status, lines)
        self._head = head
        self._head_ready = True
        self._answered = True

    def on_body(self, body: bytes) -> None:
        """Collect what this read brings."""
        self._parts.append(body)

    def on_message_complete(self) -> None:
        """Note the end of a final answer."""
        if self._answered:
            self._complete = True
            # An engine that answers before it has read the request will not find the next one's beginning.
            self._reusable = self._parser.should_keep_alive() and self.transport.get_write_buffer_size() == 0
            if self._fresh and self._reusable and self._head.length is not None:
                learned = KnownHead.learn(self._fresh, self._head.length, self._head.of_any_length())
                if learned is not None:
                    self._pool.known = self._pool.learned.newest = learned

    # inside

    def _take_known(self, data: bytes, receiver: Receiver) -> bool:
        """Deliver an answer that came in one read, if its head has come before, from this replica or another."""
        pool = self._pool
        known = pool.known
        if known is None or (body := known.body(data)) is None:
            newest = pool.learned.newest
            if newest is None or newest is known or (body := newest.body(data)) is None:
                return False
            known = pool.known = newest
        self._head = head = known.meaning
        self._reusable = not self.transport.get_write_buffer_size()
        try:
            taken = receiver.answer_whole(head, body)
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

        A whole answer can be an ``offer`` first.
        """
        receiver = self._receiver
        if receiver is None:
            return
        try:
            if offer and receiver.answer_whole(self._head, data):
                self._head_ready = False
                self._finish()
                return
            if self._head_ready:
                self._head_ready = False
                receiver.answer_head(self._head)
                receiver = self._receiver
                if receiver is None:
                    return
            if data:
                receiver.answer_data(data)
            if self._complete and self._receiver is receiver:
                self._finish()
                receiver.answer_end()
        except Exception:  # noqa: BLE001 - a mistake of ours costs one request its answer, and never hangs its client
            self._give_up(receiver)

    def _give_up(self, receiver: Receiver | None) -> None:
        """End an answer at which its receiver made a mistake. Called where that exception is handled."""
        _LOG.exception("an answer could not be relayed because of a mistake in the gateway")
        self.abort()
        if receiver is not None:
            receiver.answer_failed(UpstreamError("The gateway made a mistake; its log says which.", answered=True))

    def _finish(self) -> None:
        """Be ready for the next exchange, or close."""
        self._receiver = None
        self.relay = None
        self._reused = True
        if self._paused:
            self.resume()
        if self._reusable:
            self._pool.give_back(self)
        else:
            self.transport.close()

    def _fail(self, message: str) -> None:
        """Give the exchange up and the socket with it; an idle connection that was closed meanwhile is just stale."""
        receiver, self._receiver = self._receiver, None
        self.transport.abort()
        if receiver is not None:
            stale = self._reused and self._head_bytes == 0
            receiver.answer_failed(UpstreamError(message, answered=self._answered, stale=stale))


class ConnectionPool:
    """The connections to one address: last used, first reused, so that what a burst opened can grow old and close.

    ``learned`` is shared with other addresses, whose answers have the same heads more often than not.
    """

    __slots__ = (
        "_connect_timeout",
        "_connecting",
        "_idle",
        "_idle_timeout",
        "_now",
        "_open",
        "_tls",
        "address",
        "known",
        "last_head",
        "learned",
    )

    def __init__(
        self,
        address: Address,
        *,
        connect_timeout: float,
        idle_timeout: float = 60.0,
        learned: LearnedHeads[AnswerHead] | None = None,
    ) -> None:
        self.address = address
        self._connect_timeout = connect_timeout
        self._idle_timeout = idle_timeout
        # The one used last is at the end. A list is less to touch than a dictionary, in a pool among a thousand.
        self._idle: list[UpstreamConnection] = []
        self._open: set[UpstreamConnection] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._now = perf_counter()
        """When the pool was looked at last: how long a connection has been idle need not be known more exactly."""
        self.known: KnownHead[AnswerHead] | None = None
        self.last_head: AnswerHead | None = None
        """The one that was read last; it need not be read again where the same lines come."""
        self.learned = LearnedHeads[AnswerHead]() if learned is None else learned
        self._tls = ssl.create_default_context() if address.tls else None

    def __repr__(self) -> str:
        return f"<ConnectionPool {self.address.url} [{len(self._open)} open, {len(self._idle)} idle]>"

    def take(self) -> UpstreamConnection | None:
        """Take an idle connection, if there is one."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if not connection.transport.is_closing():
                return connection
        return None

    def connect(
        self, done: Callable[[UpstreamConnection], None], failed: Callable[[UpstreamError], None]
    ) -> asyncio.Task[None]:
        """Open a connection and call one of the two; cancelling the task calls neither."""
        task = asyncio.get_running_loop().create_task(self._connect(done, failed))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        return task

    def closed(self, connection: UpstreamConnection) -> None:
        """Forget a connection."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def give_back(self, connection: UpstreamConnection) -> None:
        """Keep a connection whose exchange is complete for the next one; one that is closing is forgotten soon."""
        idle = self._idle
        if len(idle) < _MAX_IDLE:
            connection.idle_since = self._now
            idle.append(connection)
        else:
            connection.transport.close()

    def tick(self, now: float) -> None:
        """Close connections that have been idle for too long; ``now`` is a ``perf_counter`` reading."""
        self._now = now
        idle = self._idle
        while idle and now - idle[0].idle_since >= self._idle_timeout:
            idle.pop(0).transport.close()

    def close(self) -> None:
        """Close every connection, also those in use."""
        for task in list(self._connecting):
            task.cancel()
        for connection in list(self._open):
            connection.transport.abort()

    async def _connect(
        self, done: Callable[[UpstreamConnection], None], failed: Callable[[UpstreamError], None]
    ) -> None:
        loop = asyncio.get_running_loop()
        address = self.address
        try:
            async with asyncio.timeout(self._connect_timeout):
                if address.path is not None:
                    _, connection = await loop.create_unix_connection(lambda: UpstreamConnection(self), address.path)
                else:
                    _, connection = await loop.create_connection(
                        lambda: UpstreamConnection(self), address.host, address.port, ssl=self._tls
                    )
        except TimeoutError:
            failed(UpstreamError(f"The engine did not accept a connection within {self._connect_timeout:g} s."))
        except OSError as error:
            failed(UpstreamError(f"The engine refused the connection: {error.strerror or error}."))
        except UnicodeError:
            failed(UpstreamError(f"The engine's address {address.host!r} is not a host name."))
        else:
            # Only now it counts as open: a uvloop that is cancelled while connecting never calls ``connection_lost``.
            if connection.transport.is_closing():
                failed(UpstreamError("The engine closed the connection as soon as it was open."))
                return
            self._open.add(connection)
            done(connection)


class ConnectionPools:
    """The pool of each address. Models that one engine serves, as adapters of one base model, share its connections.

    A thousand models would else need a thousand connections, and each would be cold in the kernel when its turn comes.
    """

    def __init__(self, *, connect_timeout: float) -> None:
        self._connect_timeout = connect_timeout
        self._learned = LearnedHeads[AnswerHead]()
        self._pools: dict[str, ConnectionPool] = {}

    def __repr__(self) -> str:
        return f"<ConnectionPools {list(self._pools.values())!r}>"

    def of(self, address: Address) -> ConnectionPool:
        """Give the pool of an address, made at its first use."""
        pool = self._pools.get(address.url)
        if pool is None:
            pool = ConnectionPool(address, connect_timeout=self._connect_timeout, learned=self._learned)
            self._pools[address.url] = pool
        return pool


def _check_head_bytes(lines: Sequence[tuple[bytes, bytes]]) -> None:
    """Refuse a head that is too long; what has been read may also hold much of the body."""
    if sum(len(name) + len(value) + 4 for name, value in lines) > _MAX_HEAD_BYTES:
        raise ValueError(f"a head of more than {_MAX_HEAD_BYTES} bytes")
