"""The middle: admit, choose a replica, ask it, relay its response, and release everything at the end.

One ``Exchange`` is one request's way through here. It is driven by callbacks from both sides of the wire and from the
tick of the data plane, never awaits, and ends exactly once, in ``_end``.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from time import perf_counter
from typing import Protocol

from gateway.core.errors import GatewayError, Retry, Unavailable, UpstreamFailed, UpstreamTimeout
from gateway.exchange.hedge import Hedge, retryable
from gateway.exchange.lease import Lease
from gateway.exchange.ports import Deadlines, Stream
from gateway.exchange.upstream_request import UpstreamRequest
from gateway.http import sse
from gateway.http.downstream import Downstream
from gateway.http.error_response import add_advice, read_error
from gateway.http.response_head import ERROR, EVENTS, WHOLE, ResponseHead
from gateway.http.upstream import UpstreamConnection, UpstreamError
from gateway.observe.counters import Metrics, ModelMetrics, outcome_of
from gateway.pools.pool import Pool
from gateway.pools.replica import Replica

_MAX_ATTEMPTS = 3
"""Replicas asked for one request at most; more would turn one bad request into a bad pool."""

_HELD_BYTES = 1024 * 1024
"""A unary response up to this size, in bytes, is held until it is whole, so that an engine dying half-way is a 502."""

_LAST_BYTES_SECONDS = 5.0
"""How long an engine may take to end its response after its stream's end marker, before the connection is closed."""

_MAX_ERROR_BYTES = 256 * 1024
"""How much of an engine's error response is kept."""

_SSE_HEADERS = b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n"


class Owner(Protocol):
    """Who keeps all exchanges under way."""

    deadlines: Deadlines
    metrics: Metrics
    exchanges: set[Exchange]


class State(Enum):
    """Where an exchange is."""

    QUEUED = auto()
    CONNECTING = auto()
    WAITING = auto()
    ANSWERING = auto()
    ANSWERED = auto()
    """The client has its whole stream; only the engine's last bytes are awaited, so that its connection can be kept."""
    ENDED = auto()


# Python 3.11 looks up an enum's member by a call, seven times as slow as a name; a request passes here thirty times.
QUEUED, CONNECTING, WAITING, ANSWERING, ANSWERED, ENDED = State


class Exchange:
    """One request between its client and an engine."""

    __slots__ = (
        "_asked_at",
        "_begun",
        "_client",
        "_connecting",
        "_dispatcher",
        "_events",
        "_head",
        "_heard",
        "_hedge",
        "_held",
        "_held_bytes",
        "_last_at",
        "_lease",
        "_metrics",
        "_paused",
        "_pool",
        "_request",
        "_splitter",
        "_state",
        "_stream",
        "_tried",
        "_written_at",
        "_wrote",
        "context",
    )

    # What the engine's latest answer is, from its head on.
    _head: ResponseHead
    _held: list[bytes]
    _held_bytes: int
    _splitter: sse.EventSplitter

    _asked_at: float
    """When an engine was asked, if another may be asked too."""

    def __init__(self, dispatcher: Owner, pool: Pool, request: UpstreamRequest, client: Downstream) -> None:
        self._dispatcher = dispatcher
        self._pool = pool
        self._request = request
        self.context = context = request.context
        self._client = client
        # Taken as a value first: Python 3.11 calls an attribute that is no method much more slowly.
        metrics_of = dispatcher.metrics.of
        self._metrics: ModelMetrics = metrics_of(pool.model)
        self._lease = Lease(pool)
        self._state = QUEUED
        self._tried: tuple[Replica, ...] = ()
        self._connecting: asyncio.Task[None] | None = None
        self._hedge: Hedge | None = None
        self._begun = False
        self._stream: Stream | None = None
        self._paused = False
        # The tick turns these into moments, so that an event need not look at the clock.
        self._events = 0
        self._heard = False
        self._wrote = False
        self._last_at = self._written_at = context.received_at

    def __repr__(self) -> str:
        return f"<Exchange {self.context.request_id} {self._pool.model!r} [{self._state.name.lower()}]>"

    @property
    def queued(self) -> bool:
        """Whether it still waits for its slot."""
        return self._state is QUEUED

    def start(self) -> None:
        """Take a slot and ask a replica, or wait in the queue. Raises ``Unavailable`` when that is full too."""
        if not self._pool.ready:
            raise self._pool.not_ready()
        try:
            admitted = self._pool.admission.admit(self)
        except Unavailable:
            self._metrics.refused += 1
            raise
        if admitted:
            self._metrics.admitted += 1
            self._lease.admitted(self._request.max_tokens)
            self._attempt()
        else:
            self._metrics.queued += 1

    # called by admission

    def granted(self) -> None:
        """Leave the queue with a slot; go on in a turn of its own, so that a long queue cannot become a deep stack."""
        self.context.queued_for = perf_counter() - self.context.received_at
        self._lease.admitted(self._request.max_tokens)
        self._state = CONNECTING
        asyncio.get_running_loop().call_soon(self._go_on)

    # called by the client's connection

    def client_left(self, reason: str) -> None:
        """Abort in whatever state: nobody waits for the response any more."""
        if self._state is ENDED:
            return
        self._count_abort(reason)
        self.context.status = 499
        self._end(perf_counter())

    def pause(self) -> None:
        """Read no more from the engine until the client has caught up."""
        self._paused = True
        if self._lease.connection is not None:
            self._lease.connection.pause()

    def resume(self) -> None:
        """Read on."""
        self._paused = False
        self._last_at = perf_counter()
        if self._lease.connection is not None:
            self._lease.connection.resume()

    # called by the tick, and when the gateway drains

    def tick(self, now: float) -> None:
        """Enforce the deadlines, and break a stream's silence towards its client."""
        limits = self._dispatcher.deadlines
        if self._stream is not None and self._stream.events != self._events:
            self._events = self._stream.events
            self._heard = self._wrote = True
        if self._heard:
            self._heard = False
            self._last_at = now
        if self._wrote:
            self._wrote = False
            self._written_at = now
        if self._state is ANSWERED:
            if now - self._last_at > _LAST_BYTES_SECONDS:
                self.release()
            return
        if self._state is QUEUED:
            allowed = min(limits.queue, limits.total)
            if now - self.context.received_at > allowed:
                self._metrics.queue_timeouts += 1
                self._fail(self._pool.admission.timed_out(allowed))
        elif now - self.context.received_at > limits.total:
            self._expire(f"The request took longer than {limits.total:g} s.", silent=False)
        elif self._state is WAITING and not self._paused and now - self._last_at > limits.first_byte:
            self._expire(f"The engine did not begin to answer within {limits.first_byte:g} s.", silent=True)
        elif self._state is ANSWERING and not self._paused and now - self._last_at > limits.between_bytes:
            self._expire(f"The engine fell silent for {limits.between_bytes:g} s within its response.", silent=True)
        if self._state is not ENDED and not self._paused and self._request.streams:
            self._break_silence(now)

    def cancel(self, error: GatewayError) -> None:
        """End early, with ``error`` as the response or as the end of the stream."""
        if self._state is ANSWERED:
            self.release()
        elif self._state is not ENDED:
            self._count_abort("drain")
            self._fail(error)

    # called by the engine's connection

    def receive_whole(self, head: ResponseHead, body: bytes) -> bool:
        """Take a good response that is no stream, as most are that come at once; of any other decide by its parts."""
        if head.kind is not WHOLE or self._stream is not None:
            return False
        began = perf_counter()
        if self._hedge is not None:
            self._end_hedge()
        context, request, lease = self.context, self._request, self._lease
        lease.connection = None
        replica = lease.replica
        assert replica is not None
        replica.succeeded()
        self._metrics.attempts["ok"][replica.name] += 1
        self._client.write_response(context, began, head.status, head.down, body, len(body))
        self._begun = True
        now = perf_counter()
        context.overhead += now - began
        # A long response is not kept waiting until its usage is found.
        request.dialect.meter(context, body)
        if request.hedges and self._pool.hedging is not None:
            self._pool.hedging.answered(now - self._asked_at)
        self._end(now)
        return True

    def receive_head(self, head: ResponseHead) -> None:
        """Decide by status and media type what the response is."""
        if self._hedge is not None and not retryable(head):
            self._end_hedge()
        self._heard = True
        self._state = ANSWERING
        self._head = head
        self._held = []
        self._held_bytes = 0
        if head.kind is EVENTS:
            self._splitter = sse.EventSplitter()
        elif head.kind is WHOLE and self._stream is not None:
            # Keep-alive comments have committed this response to a stream.
            self._fail(UpstreamFailed("The engine answered a streaming request without a stream."))

    def receive_data(self, data: bytes) -> None:
        """Relay what one read brought: of a stream whole events, as far as the dialect lets them through."""
        self._heard = True
        if self._head.kind is not EVENTS:
            self._take_piece(data)
            return
        if self._state is ANSWERED:
            return
        try:
            events = self._splitter.feed(data)
        except sse.EventTooLarge as error:
            self._fail(UpstreamFailed(f"The engine sent {error}."))
            return
        stream = self._stream
        if stream is None:
            if events:
                self._relay_first(events)
        else:
            events = stream.feed(events)
            if stream.complete:
                self._finish_events(stream, events)
            elif events:
                self._wrote = True
                self._client.write_chunk(self.context, events)
        connection, stream = self._lease.connection, self._stream
        in_chunks = self.context.head.version == "1.1"
        if connection is not None and stream is not None and self._state is ANSWERING and in_chunks:
            # Both sides frame their chunks alike, so one that begins with an event mostly needs no more than a look.
            connection.relay = None if self._splitter.pending else (stream.passes, self._client.write_raw)

    def receive_end(self) -> None:
        """Finish what was relayed, or write the response that was held."""
        if self._head.kind is WHOLE and not self._begun:
            self.receive_whole(self._head, b"".join(self._held))
            return
        self._lease.connection = None
        replica = self._lease.replica
        assert replica is not None
        if self._head.status < 500:
            replica.succeeded()
        if self._state is ANSWERED:
            self.release()
        elif self._head.kind is EVENTS:
            self._end_events(replica)
        elif self._head.kind is ERROR:
            self._finish_error(replica)
        else:
            self._metrics.attempts["ok"][replica.name] += 1
            self._finish_whole()

    def receive_failure(self, error: UpstreamError) -> None:
        """Ask another replica if no byte of a response has come, else fail."""
        if self._state is ENDED:
            return
        self._lease.connection = None
        replica = self._lease.replica
        assert replica is not None
        if self._state is ANSWERED:
            self.release()
            return
        if error.stale and len(self._tried) < _MAX_ATTEMPTS:
            # The engine closed an idle connection while the request was on its way: no fault of the replica's.
            self._connect(replica)
            return
        replica.failed(str(error))
        self._metrics.attempts["failed"][replica.name] += 1
        if error.answered:
            self._fail(UpstreamFailed(str(error)))
        else:
            self._try_another(replica, UpstreamFailed(str(error)))

    # called by its hedge

    def send_on(self, connection: UpstreamConnection, replica: Replica) -> None:
        """Ask the second replica."""
        assert self._hedge is not None
        connection.send(self._request.head_for(replica), self._request.body, self._hedge)

    def won(self, head: ResponseHead) -> None:
        """Go on with the second replica's response; the first one is told to stop by the closing of its connection."""
        hedge, self._hedge = self._hedge, None
        assert hedge is not None
        self._count_hedged(self._lease.replica)
        self._lease.take_over(hedge.lease)
        connection, replica = self._lease.connection, self._lease.replica
        assert connection is not None
        assert replica is not None
        self.context.retries += 1
        self.context.replica = replica.name
        connection.hand_to(self)
        if self._paused:
            connection.pause()
        self.receive_head(head)

    def hedge_failed(self, replica: Replica, outcome: str) -> None:
        """Go on with the first replica; where that has failed meanwhile, with a third one or with what it said."""
        hedge, self._hedge = self._hedge, None
        assert hedge is not None
        self._metrics.attempts[outcome][replica.name] += 1
        if hedge.first_error is not None:
            self._try_another(replica, hedge.first_error, may_retry=hedge.may_retry)

    # inside: towards the engine

    def _go_on(self) -> None:
        """Ask a replica, if the client has not left meanwhile."""
        if self._state is not ENDED:
            self._attempt()

    def _attempt(self) -> None:
        """Choose a replica and ask it."""
        try:
            replica = self._pool.pick(self._tried)
        except Unavailable as error:
            self._fail(error)
            return
        self._lease.take(replica)
        context = self.context
        if context.replica:
            context.retries += 1
        context.replica = replica.name
        connection = replica.connections.take()
        if connection is None:
            self._connect(replica)
        else:
            self._send(connection)

    def _connect(self, replica: Replica) -> None:
        self._state = CONNECTING
        self._connecting = replica.connections.connect(self._connected, self._connect_failed)

    def _connected(self, connection: UpstreamConnection) -> None:
        self._connecting = None
        self._send(connection)

    def _connect_failed(self, error: UpstreamError) -> None:
        self._connecting = None
        self.receive_failure(error)

    def _send(self, connection: UpstreamConnection) -> None:
        context, lease, request = self.context, self._lease, self._request
        assert lease.replica is not None
        lease.connection = connection
        self._state = WAITING
        connection.send(request.head_for(lease.replica), request.body, self)
        now = self._last_at = perf_counter()
        if not context.overhead:
            context.overhead = now - context.received_at - context.queued_for
            if request.hedges and self._pool.hedging is not None:
                self._asked_at = now
                self._hedge_after(self._pool.hedging.asked(), lease.replica)
        if self._paused:
            connection.pause()

    def _hedge_after(self, delay: float | None, first: Replica) -> None:
        """Arrange for a second replica to be asked, where there is one and it is known when a response is late."""
        if delay is not None and len(self._pool.ready) > 1:
            self._hedge = Hedge(self, self._pool, first, delay)

    def _end_hedge(self) -> None:
        hedge, self._hedge = self._hedge, None
        if hedge is not None:
            self._count_hedged(hedge.replica)
            hedge.give_up()

    def _count_hedged(self, loser: Replica | None) -> None:
        """Count an attempt that was not needed after all."""
        if loser is not None:
            self._metrics.aborts["hedged"] += 1
            self._metrics.attempts["aborted"][loser.name] += 1

    def _try_another(self, failed: Replica, error: GatewayError, *, may_retry: bool = True) -> None:
        """Leave it to a hedge that is at work, ask a replica that was not asked yet if it ``may_retry``, or fail."""
        self._lease.leave_replica()
        self._tried = (*self._tried, failed)
        hedge = self._hedge
        if hedge is not None and hedge.replica is not None:
            hedge.first_error, hedge.may_retry = error, may_retry
            self._state = WAITING
            return
        self._end_hedge()
        others = may_retry and any(replica not in self._tried for replica in self._pool.ready)
        if others and len(self._tried) < _MAX_ATTEMPTS:
            self._attempt()
        else:
            self._fail(error)

    # inside: towards the client

    def _relay_first(self, events: bytes) -> None:
        """Begin the client's stream with its first events, and note how long that took.

        An engine may begin a stream before it knows that it cannot serve it. That is a failure before the first byte.
        So comments alone are no beginning either: they are held until an event follows.
        """
        began = perf_counter()
        if not sse.has_data(events):
            self._held.append(events)
            return
        if self._held:
            events = b"".join(self._held) + events
            self._held = []
        stream = self._new_stream()
        events = stream.feed(events)
        if stream.refused:
            assert stream.failure is not None
            self._finish_refusal(stream.failure)
            return
        self._wrote = True
        self._begin_events(stream, events)
        self.context.overhead += perf_counter() - began
        if stream.complete:
            self._finish_events(stream, b"")

    def _take_piece(self, data: bytes) -> None:
        """Hold a piece of a response that is no stream, or relay it where the response is too large to be held."""
        if self._begun and self._stream is None:
            self._write(data)
        elif self._head.kind is WHOLE or self._held_bytes < _MAX_ERROR_BYTES:
            self._held.append(data)
            self._held_bytes += len(data)
            if self._head.kind is WHOLE and self._held_bytes > _HELD_BYTES and not self._begun:
                self._begin_whole()

    def _new_stream(self) -> Stream:
        return self._request.dialect.stream(self.context, strip_usage=self._request.strip_usage)

    def _begin_events(self, stream: Stream, first: bytes) -> None:
        """Commit to a stream, whose ``first`` events are there: from here on, failures are events."""
        context = self.context
        self._stream = stream
        context.streamed = True
        self._begun = True
        down = self._head.down if self._state is ANSWERING else b""
        self._client.begin_stream(context, 200, _SSE_HEADERS + down, first=first)

    def _begin_whole(self) -> None:
        """Commit to a unary response that is too large to be held."""
        head = self._head
        self._begun = True
        self._client.begin_stream(self.context, head.status, head.down, head.length)
        if head.length is not None:
            self._client.write_raw(b"".join(self._held))
        else:
            self._client.write_chunk(self.context, b"".join(self._held))
        self._held = []

    def _write(self, data: bytes) -> None:
        if self._head.length is not None:
            self._client.write_raw(data)
        else:
            self._client.write_chunk(self.context, data)

    def _finish_whole(self) -> None:
        """End a response that was too large to be held."""
        if self._head.length is None:
            self._client.end_stream(self.context)
        self._end(perf_counter())

    def _finish_events(self, stream: Stream, last: bytes) -> None:
        """End the client's stream as soon as its end marker has passed: many clients close at once when they see it."""
        context, replica = self.context, self._lease.replica
        assert replica is not None
        self._metrics.attempts["ok" if stream.failure is None else "failed"][replica.name] += 1
        if self._lease.connection is not None:
            self._lease.connection.relay = None
        stream.settle()
        self._client.end_stream(context, last)
        if stream.failure is not None:
            context.error = stream.failure
            context.status = stream.failure.status
        self._state = ANSWERED
        self._client.finished(context, perf_counter())

    def _end_events(self, replica: Replica) -> None:
        """End a stream whose body has ended cleanly: properly if its dialect finds it complete, else with an error."""
        stream = self._stream or self._new_stream()
        last = stream.end(self._splitter.flush())
        if stream.refused and not self._begun:
            assert stream.failure is not None
            self._finish_refusal(stream.failure)
        elif last is None:
            self._metrics.attempts["failed"][replica.name] += 1
            self._fail(UpstreamFailed("The engine's stream ended before it was complete."))
        else:
            if self._stream is None:
                self._begin_events(stream, b"")
            self._finish_events(stream, last)
            self.release()

    def _finish_error(self, replica: Replica) -> None:
        """Answer with the engine's error in our shape, unless a hedge at work has a better response.

        Only an engine that is full is left at once for another.
        """
        error = read_error(self._head, b"".join(self._held))
        self._say_when(error)
        self._metrics.attempts[outcome_of(self._head.status)][replica.name] += 1
        self._try_another(replica, error, may_retry=error.retry is Retry.YES)

    def _finish_refusal(self, error: GatewayError) -> None:
        """Answer with the error that came instead of a stream, or ask another replica if it is this one's."""
        replica = self._lease.replica
        assert replica is not None
        add_advice(error, self._head)
        self._say_when(error)
        if error.status >= 500:
            self._metrics.attempts["failed"][replica.name] += 1
            self._try_another(replica, error)
        else:
            self._metrics.attempts["ok"][replica.name] += 1
            self._fail(error)

    def _say_when(self, error: GatewayError) -> None:
        """Tell a client when to come back to an engine that is full and did not say it."""
        if error.status in (429, 503, 529) and error.retry_after is None:
            error.retry_after = self._pool.admission.expected_wait()

    def _break_silence(self, now: float) -> None:
        """Send a comment after the interval, committing to a stream if the engine has not begun one."""
        interval = self._dispatcher.deadlines.keep_alive_comment
        if now - self._written_at < interval or (self._begun and self._stream is None):
            return
        self._written_at = now
        if self._stream is None:
            self._begin_events(self._new_stream(), sse.KEEP_ALIVE)
        else:
            self._client.write_chunk(self.context, sse.KEEP_ALIVE)

    def _expire(self, message: str, *, silent: bool) -> None:
        """Fail because of a deadline, or as the first replica did; silence counts against the replica's health."""
        replica = self._lease.replica
        if replica is not None:
            if silent:
                replica.failed(message)
            self._metrics.attempts["timeout"][replica.name] += 1
        self._count_abort("timeout")
        first_error = self._hedge.first_error if self._hedge is not None else None
        self._fail(first_error or UpstreamTimeout(message))

    def _count_abort(self, reason: str) -> None:
        if self._lease.replica is not None:
            self._metrics.aborts[reason] += 1
            if reason != "timeout":
                self._metrics.attempts["aborted"][self._lease.replica.name] += 1

    def _fail(self, error: GatewayError) -> None:
        """End with an error: as the response, as the last events of a stream, or as a cut of what cannot be mended."""
        context, client = self.context, self._client
        context.error = error
        if self._stream is not None:
            context.keep_alive = False
            client.end_stream(context, b"" if self._stream.complete else self._stream.error(error))
            context.status = error.status
        elif self._begun:
            context.keep_alive = False
            context.status = error.status
            client.cut()
        else:
            client.write_error(context, error)
        self._end(perf_counter())

    def release(self) -> None:
        """Give back everything that is held, in whatever state, and be forgotten by the dispatcher."""
        if self._state is QUEUED:
            self._pool.admission.withdraw(self)
            self.context.queued_for = perf_counter() - self.context.received_at
        self._state = ENDED
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        if self._hedge is not None:
            self._end_hedge()
        if self._stream is not None:
            self._stream.settle()
        self._lease.release()
        self._dispatcher.exchanges.discard(self)

    def _end(self, now: float) -> None:
        """Release everything and say that the request is over. Every way through an exchange ends here, once."""
        if self._state is not ENDED:
            self.release()
            self._client.finished(self.context, now)
