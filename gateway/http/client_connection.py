"""The client's side of the wire: one ``ClientConnection`` per socket, driven by callbacks alone.

A connection hands each request that its parser has received to the ``Application`` in the order they came, and writes
responses in that same order. It knows HTTP and deadlines, and nothing of models: what a request means is the
application's affair.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import perf_counter
from typing import cast

from gateway.core.context import RequestContext, RequestHead
from gateway.core.errors import RequestTimeout
from gateway.http.listener import Listener
from gateway.http.request_head import CONTINUE
from gateway.http.request_parser import BETWEEN, EXPECTING, MESSAGE, STREAMING, RequestParser, refusal
from gateway.http.response_writer import CLOSING, LOST, OPEN, ResponseWriter

_PIPELINE_DEPTH = 32
"""Whole requests that may wait behind the one being answered before the socket is read no further."""

_PIPELINE, _BODY = 1, 2
"""Why a socket is not read: enough requests wait, or enough of a body does."""

_LINGER_SECONDS = 2.0
"""How long a refused upload is read and thrown away, so that the refusal is not lost in a connection reset."""


class ClientConnection(ResponseWriter):
    """One client's socket. At most one request is being answered at a time; the pipelined ones wait their turn."""

    __slots__ = ("_deadline", "_held", "_parser", "_reading_paused_by", "_waiting", "client")

    def __init__(self, listener: Listener) -> None:
        super().__init__(listener)
        self._parser = RequestParser(listener, self)
        self._waiting: deque[RequestContext] = deque()
        self._reading_paused_by = 0
        self._held = 0
        """The bytes of the body of the request that is being answered; its context may have let go of them."""
        self._deadline = perf_counter() + listener.keep_alive
        self.client = ""

    def __repr__(self) -> str:
        state = "closed" if self._state is LOST else "busy" if self.busy else "idle"
        return f"<ClientConnection {self.client or '-'} [{state}; {len(self._waiting)} pipelined]>"

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet a new socket, or refuse it where there are too many."""
        self.transport = cast(asyncio.Transport, transport)
        self.write_raw = self.transport.write
        peer = self.transport.get_extra_info("peername")
        self.client = peer[0] if isinstance(peer, tuple) else "unix"
        refused = self._listener.add(self, self.client)
        if refused is not None:
            self._parser.refuse(refused)

    def data_received(self, data: bytes) -> None:
        """Take a request with a known head as it is, and let the parser have everything else."""
        parser = self._parser
        if parser.state is BETWEEN:
            match = parser.heads.match(data)
            if match is not None and self._take_known(*match):
                return
        parser.feed(data)

    def eof_received(self) -> None:
        """Take a half-closed connection for a closed one: a client that has gone looks the same."""
        self._leave("client_left")

    def connection_lost(self, _exc: Exception | None) -> None:
        """Abort what is under way and forget the rest."""
        self._leave("client_left")
        self._listener.remove(self, self.client)

    def resume_writing(self) -> None:
        """Let the engine's side go on, or begin with the request that waited for room to answer."""
        super().resume_writing()
        self._next()

    # called by the parser

    def message_began(self) -> None:
        """Give the request its time to arrive."""
        self._deadline = perf_counter() + self._listener.receive

    def message_expects(self) -> None:
        """Ask for the body, once all responses before its own are written."""
        if self._request is None and not self._waiting and self._state is OPEN:
            self._parser.state = MESSAGE
            self.write_raw(CONTINUE)

    def message_ready(self, context: RequestContext) -> None:
        """Begin to answer a request, or let it wait for its turn."""
        if self._state is not OPEN:
            self._listener.counts.body_bytes -= len(context.body)
            return
        if self._request is None and not self._waiting and not self._paused_writing:
            self._begin(context)
            return
        self._waiting.append(context)
        if len(self._waiting) >= _PIPELINE_DEPTH:
            self._pause_reading(_PIPELINE)

    def message_refused(self, context: RequestContext) -> None:
        """Answer with the refusal when its turn comes, and close then."""
        if self._state is not OPEN:
            return
        if self._request is None and not self._waiting:
            self._begin(context)
        else:
            self._waiting.append(context)

    def request_body(self) -> None:
        """Tell a client to go on that waits with a body which is now read."""
        if self._parser.state is EXPECTING and self._state is OPEN:
            self._parser.state = STREAMING
            self.write_raw(CONTINUE)

    def pause_body(self) -> None:
        """Read no more of a body while its reader is behind."""
        self._pause_reading(_BODY)

    def resume_body(self) -> None:
        """Read on."""
        self._resume_reading(_BODY)

    # called by the answering side

    def finished(self, context: RequestContext, now: float) -> None:
        """Note that the current response is complete, and go on to the next request or close.

        ``now`` is a ``perf_counter`` reading.
        """
        if self._request is not context:
            return
        self._request = None
        self._in_flight = None
        listener = self._listener
        listener.counts.body_bytes -= self._held
        listener.application.ended(context, now)
        if self._state is LOST:
            return
        if self._state is CLOSING or not context.keep_alive or listener.closing:
            self._shut()
            return
        state = self._parser.state
        self._deadline = now + (listener.keep_alive if state is BETWEEN else listener.receive)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._next)
        elif state is EXPECTING:
            self.message_expects()

    # called by the listener

    def tick(self, now: float) -> None:
        """Enforce this connection's deadlines."""
        if self._stalled(now):
            self._leave("client_stalled")
            self.transport.abort()
            return
        if self._parser.state is STREAMING:
            self._parser.tick(now)
        if self._state is LOST or self._request is not None or self._waiting or now < self._deadline:
            return
        if self._state is CLOSING:
            if self.transport.get_write_buffer_size() == 0:
                self.transport.abort()
        elif self._parser.state is BETWEEN:
            self._state = CLOSING
            self.transport.close()
        else:
            limit = self._listener.receive
            self._parser.refuse(RequestTimeout(f"The request did not arrive within {limit:g} s."))

    def close_when_idle(self) -> None:
        """Close now, or after the response under way."""
        idle = self._request is None and not self._waiting and self._parser.state is BETWEEN
        if idle and self._state is OPEN:
            self._state = CLOSING
            self.transport.close()

    # inside

    def _take_known(self, head: RequestHead, body: bytes) -> bool:
        """Begin to answer a request with a known head, if it has its turn and what was decided about it still holds."""
        listener = self._listener
        held = listener.counts.body_bytes + len(body)
        if (
            self._request is not None
            or self._waiting
            or self._paused_writing
            or self._state is not OPEN
            or self._parser.heads_snapshot is not listener.application.snapshot
            or len(body) > listener.max_body_bytes
            or held > listener.max_total_body_bytes
        ):
            return False
        listener.counts.body_bytes = held
        self._begin(RequestContext(head, listener.request_ids.fresh(), body, perf_counter()))
        return True

    def _begin(self, context: RequestContext) -> None:
        """Start to answer a request that has its turn."""
        self._request = context
        self._held = len(context.body)
        try:
            if context.error is not None:
                raise context.error
            in_flight = self._listener.application.answer(context, self)
        except Exception as cause:  # noqa: BLE001 - a mistake of ours costs one request a response of 500, no more
            error = refusal(cause)
            context.keep_alive = context.keep_alive and not error.closes
            if context.status:
                context.error = error
                self.cut()
            else:
                self.write_error(context, error)
            self.finished(context, perf_counter())
            return
        if in_flight is None:
            self.finished(context, perf_counter())
        elif self._request is context:
            self._in_flight = in_flight
            if self._paused_writing:
                in_flight.pause()

    def _next(self) -> None:
        """Take the next pipelined request, once the client has taken the responses before its own.

        Else a client that only sends would fill the memory: a request of forty bytes may have a response of thousands.
        """
        if self._state is not OPEN or self._request is not None or not self._waiting or self._paused_writing:
            return
        context = self._waiting.popleft()
        if len(self._waiting) < _PIPELINE_DEPTH // 2:
            self._resume_reading(_PIPELINE)
        self._begin(context)

    def _shut(self) -> None:
        """Close after the last response: the sending half at first, while what still arrives is read and thrown away.

        Closing both halves at once would reset the connection under whatever the client is still sending, and with it
        destroy the response that the client has not read yet (RFC 9112, section 9.6).
        """
        self._state = CLOSING
        self._drop_waiting()
        if self.transport.can_write_eof():
            self._parser.discard()
            self._deadline = perf_counter() + _LINGER_SECONDS
            self._resume_reading(_PIPELINE | _BODY)
            self.transport.write_eof()
        else:
            self.transport.close()

    def _drop_waiting(self) -> None:
        """Forget the requests behind the one that is being answered."""
        self._listener.counts.body_bytes -= sum(len(context.body) for context in self._waiting)
        self._waiting.clear()

    def _pause_reading(self, reason: int) -> None:
        if not self._reading_paused_by:
            self.transport.pause_reading()
        self._reading_paused_by |= reason

    def _resume_reading(self, reasons: int) -> None:
        """Read on, if nothing but these reasons was against it."""
        if self._reading_paused_by:
            self._reading_paused_by &= ~reasons
            if not self._reading_paused_by:
                self.transport.resume_reading()

    def _leave(self, reason: str) -> None:
        """Tell the current response that its client has gone, and account for every request that nobody waits for."""
        self._state = LOST
        context, in_flight = self._request, self._in_flight
        self._drop_waiting()
        self._parser.forget()
        self._in_flight = None
        if context is None:
            return
        if in_flight is not None:
            in_flight.client_left(reason)
        self.finished(context, perf_counter())
