"""One request between its client and an engine: admitted, attempted at one or more replicas, relayed, and released.

An ``Exchange`` is driven by callbacks from both sides of the wire and from the ticker; it never awaits, and ends
exactly once, in ``_end``. What a replica says reaches it through an ``Attempt``, what the client gets in pieces leaves
it through a relay, and what follows a failure is decided by ``decide``.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from time import perf_counter
from typing import Protocol

from gateway.core.errors import GatewayError, Unavailable, UpstreamFailed, UpstreamTimeout, from_engine
from gateway.exchange.attempt import DONE, Attempt
from gateway.exchange.deadlines import overdue
from gateway.exchange.decide import Next, decide, says_no_more_than_try_elsewhere
from gateway.exchange.ports import Deadlines
from gateway.exchange.race import CallLater, Race
from gateway.exchange.relay import BodyRelay, StreamRelay
from gateway.exchange.upstream_request import UpstreamRequest
from gateway.http import sse
from gateway.http.downstream import Downstream
from gateway.http.response_head import WHOLE, ResponseHead
from gateway.http.upstream import UpstreamError
from gateway.observe.counters import Metrics, ModelMetrics, outcome_of
from gateway.pools.pool import Pool
from gateway.pools.replica import Replica

_LAST_BYTES_SECONDS = 5.0
"""How long an engine may take to end its response after its stream's end marker, before the connection is closed."""

_LONGEST_WAIT = 86_400.0
"""Seconds; no client is told to stay away for longer, whatever an engine says."""


class Owner(Protocol):
    """Who keeps all exchanges under way."""

    deadlines: Deadlines
    metrics: Metrics
    exchanges: set[Exchange]
    call_later: CallLater


class State(Enum):
    """Where an exchange is."""

    PREPARING = auto()
    """It exists, and has not asked for a slot yet."""
    QUEUED = auto()
    """It waits for a slot."""
    TRYING = auto()
    """It has a slot, and the client has got nothing."""
    RELAYING = auto()
    """The client has got the beginning of its response."""
    FLUSHING = auto()
    """The client has its whole response; the engine's last bytes are awaited, so that its connection can be kept."""
    ENDED = auto()


# perf: enum members, see docs/python-idioms.md.
PREPARING, QUEUED, TRYING, RELAYING, FLUSHING, ENDED = State


class Exchange:
    """One request, its attempts and its relay."""

    __slots__ = (
        "_attempt",
        "_client",
        "_last_at",
        "_metrics",
        "_owner",
        "_pool",
        "_race",
        "_relay",
        "_request",
        "_slot",
        "_state",
        "_tried",
        "context",
        "heard",
        "paused",
    )

    def __init__(self, owner: Owner, pool: Pool, request: UpstreamRequest, client: Downstream) -> None:
        self._owner = owner
        self._pool = pool
        self._request = request
        self.context = context = request.context
        self._client = client
        # perf: method as a value
        metrics_of = owner.metrics.of
        self._metrics: ModelMetrics = metrics_of(pool.model)
        self._state = PREPARING
        self._slot = False
        self._attempt: Attempt | None = None
        self._race: Race | None = None
        """Where the request may be asked of a second replica, or is, while the first has not responded."""
        self._tried: tuple[Replica, ...] = ()
        self._relay: BodyRelay | StreamRelay | None = None
        self.paused = False
        # The tick turns this into a moment, so that an event need not look at the clock.
        self.heard = False
        self._last_at = context.received_at

    def __repr__(self) -> str:
        parts = [self._state.name.lower(), *map(repr, filter(None, (self._attempt, self._race, self._relay)))]
        return f"<Exchange {self.context.request_id} {self._pool.model!r} [{'; '.join(parts)}]>"

    @property
    def queued(self) -> bool:
        """Whether it still waits for its slot."""
        return self._state is QUEUED

    def start(self) -> None:
        """Take a slot and ask a replica, or wait in the queue. Raises ``Unavailable`` when that is full too."""
        assert self._state is PREPARING
        pool = self._pool
        if not pool.ready:
            raise pool.not_ready()
        try:
            admitted = pool.admission.admit(self)
        except Unavailable:
            self._metrics.refused += 1
            raise
        if admitted:
            self._metrics.admitted += 1
            self._hold_slot()
            self._try()
        else:
            self._state = QUEUED
            self._metrics.queued += 1

    # called by admission

    def granted(self) -> None:
        """Leave the queue with a slot; go on in a turn of its own, so that a long queue cannot become a deep stack."""
        assert self._state is QUEUED
        self.context.queued_for = perf_counter() - self.context.received_at
        self._hold_slot()
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
        self.paused = True
        if self._attempt is not None and self._attempt.connection is not None:
            self._attempt.connection.pause()

    def resume(self) -> None:
        """Read on."""
        self.paused = False
        self._last_at = perf_counter()
        if self._attempt is not None and self._attempt.connection is not None:
            self._attempt.connection.resume()

    # called by the ticker, and when the gateway drains

    def tick(self, now: float) -> None:
        """Enforce the deadlines, and break a stream's silence towards its client."""
        relay = self._relay
        if isinstance(relay, StreamRelay) and relay.heard():
            self.heard = True
        if self.heard:
            self.heard = False
            self._last_at = now
        if self._state is FLUSHING:
            if now - self._last_at > _LAST_BYTES_SECONDS:
                self.release()
            return
        self._enforce_deadlines(now)
        if self._state is not ENDED and not self.paused and self._request.streams:
            self._break_silence(now)

    def cancel(self, error: GatewayError) -> None:
        """End early, with ``error`` as the response or as the end of the stream."""
        if self._state is FLUSHING:
            self.release()
        elif self._state is not ENDED:
            self._count_abort("drain")
            self._fail(error)

    # called by the attempts

    def attempt_whole(self, attempt: Attempt, head: ResponseHead, body: bytes) -> bool:
        """Write a whole response, unless keep-alive comments have committed this one to a stream."""
        if self._relay is not None:
            return False
        began = perf_counter()
        if self._race is not None:
            self._win(attempt)
        context, request = self.context, self._request
        attempt.connection = None
        attempt.replica.succeeded()
        self._client.write_response(context, began, head.status, head.down, body, len(body))
        self._state = RELAYING
        now = perf_counter()
        context.overhead += now - began
        # A long response is not kept waiting until its usage is found.
        request.dialect.meter(context, body)
        if request.hedges and self._pool.hedging is not None:
            self._pool.hedging.answered(now - attempt.sent_at)
        attempt.release("ok")
        self._attempt = None
        self._end(now)
        return True

    def attempt_head(self, attempt: Attempt, head: ResponseHead) -> None:
        """Let a replica that responds to the request win over its rival."""
        if self._race is not None and not says_no_more_than_try_elsewhere(head):
            self._win(attempt)
        if head.kind is WHOLE and self._relay is not None:
            self._fail(UpstreamFailed("The engine answered a streaming request without a stream."))

    def attempt_events(self, attempt: Attempt, events: bytes) -> None:
        """Relay whole events, as far as the dialect lets them through."""
        if self._state is FLUSHING:
            return
        relay = self._relay
        if relay is None:
            relay, events = self._begin_stream(attempt, events), b""
            if relay is None:
                return
        else:
            assert isinstance(relay, StreamRelay)
            events = relay.stream.feed(events)
            if events and not relay.stream.complete:
                relay.write(events)
        if relay.stream.complete:
            self._complete_stream(attempt, relay, events)
        elif attempt.connection is not None and self.context.head.version == "1.1":
            # Both sides frame their chunks alike, so one that begins with an event mostly needs no more than a look.
            passed_on = None if attempt.pending_event else (relay.stream.passes, self._client.write_raw)
            attempt.connection.relay = passed_on

    def attempt_body(self, attempt: Attempt, pieces: bytes) -> None:
        """Relay a piece of a body that is too large to be held."""
        if self._relay is None:
            self._relay = BodyRelay(self._client, self.context, attempt.head, pieces)
            self._state = RELAYING
        elif isinstance(self._relay, BodyRelay):
            self._relay.write(pieces)

    def attempt_ended(self, attempt: Attempt) -> None:
        """End what was relayed, if it is complete."""
        relay = self._relay
        if self._state is FLUSHING:
            self.release()
        elif isinstance(relay, BodyRelay):
            attempt.count("ok")
            relay.complete()
            self._end(perf_counter())
        else:
            attempt.count("failed")
            self._fail(UpstreamFailed("The engine's stream ended before it was complete."))

    def attempt_refused(self, attempt: Attempt, head: ResponseHead, body: bytes) -> None:
        """Answer with the engine's error in our shape. Only an engine that is full is left at once for another."""
        status, said = head.status, head.first(b"retry-after")
        retry_after = min(float(said), _LONGEST_WAIT) if said is not None and said.isdigit() else None
        if status in (429, 503) and retry_after is None:
            retry_after = self._pool.admission.expected_wait()
        error = (
            UpstreamFailed(f"The engine answered with a redirect ({status}), which is never followed.")
            if status < 400
            else from_engine(status, body, retry_after)
        )
        attempt.count(outcome_of(status))
        self._go_on_after(attempt, error, retry=status == 503)

    def attempt_failed(self, attempt: Attempt, error: UpstreamError) -> None:
        """Ask another replica if no byte of a response has come, else fail."""
        if self._state is FLUSHING:
            self.release()
            return
        failed = UpstreamFailed(str(error))
        if error.stale and decide(stale=True, retry=True, asked=len(self._tried), others=False, rival=False) is (
            Next.RECONNECT
        ):
            attempt.connect()
            return
        attempt.replica.failed(str(error))
        attempt.count("failed")
        if error.answered:
            self._fail(failed)
        else:
            self._go_on_after(attempt, failed, retry=True)

    def attempt_garbled(self, attempt: Attempt, message: str) -> None:
        """Fail: what follows cannot be read either."""
        attempt.count("failed")
        self._fail(UpstreamFailed(message))

    # inside: towards the engines

    def _hold_slot(self) -> None:
        """Hold the slot that admission has given, and count the tokens that may be produced."""
        self._slot = True
        self._state = TRYING
        self._pool.tokens_in_flight += self._request.max_tokens

    def _go_on(self) -> None:
        """Ask a replica, if the client has not left meanwhile."""
        if self._state is TRYING:
            self._try()

    def _try(self) -> None:
        """Choose a replica and ask it."""
        try:
            replica = self._pool.pick(self._tried)
        except Unavailable as error:
            self._fail(error)
            return
        self._attempt = self._ask(replica)
        context = self.context
        if context.replica:
            context.retries += 1
        context.replica = replica.name
        if self._request.hedges and self._pool.hedging is not None and not self._tried:
            self._arrange_race(self._pool.hedging.asked(), replica)

    def _ask(self, replica: Replica) -> Attempt:
        attempt = Attempt(self, self._request, replica, self._metrics.attempts)
        connection = replica.connections.take()
        if connection is None:
            attempt.connect()
        else:
            attempt.send(connection)
        return attempt

    def _arrange_race(self, delay: float | None, first: Replica) -> None:
        """Arrange for a second replica to be asked, where there is one and it is known when a response is late."""
        if delay is not None and len(self._pool.ready) > 1:
            self._race = Race(self._pool, first, self._ask, delay, self._owner.call_later)

    def _win(self, winner: Attempt) -> None:
        """Go on with the attempt that responds first; the other engine is told to stop by its connection's closing."""
        race, first = self._race, self._attempt
        assert race is not None
        if winner is first:
            self._end_race()
            return
        self._follow_rival(race)
        if first is not None and first.state is not DONE:
            self._metrics.aborts["hedged"] += 1
            first.release()
        self._race = None

    def _follow_rival(self, race: Race) -> None:
        """Make the second attempt the one that counts."""
        rival = race.rival
        if rival is None or rival is self._attempt:
            return
        self._attempt = rival
        self.context.retries += 1
        self.context.replica = rival.replica.name
        if self.paused and rival.connection is not None:
            rival.connection.pause()

    def _end_race(self) -> None:
        race, self._race = self._race, None
        if race is not None and race.rival is not self._attempt and race.end():
            self._metrics.aborts["hedged"] += 1

    def _go_on_after(self, attempt: Attempt, error: GatewayError, *, retry: bool) -> None:
        """Do what ``decide`` says after an attempt has failed; of two, the client is told what the first has said."""
        attempt.release()
        self._tried = (*self._tried, attempt.replica)
        race = self._race
        if race is not None and race.error is not None:
            error, retry = race.error, race.retry
        others = any(replica not in self._tried for replica in self._pool.ready)
        rival = race is not None and (race.running if attempt is self._attempt else self._attempt_is_live)
        match decide(stale=False, retry=retry, asked=len(self._tried), others=others, rival=rival):
            case Next.WAIT:
                assert race is not None
                if attempt is self._attempt:
                    race.error, race.retry = error, retry
                    self._follow_rival(race)
                else:
                    self._race = None
            case Next.RETRY:
                self._end_race()
                self._try()
            case _:
                self._fail(error)

    @property
    def _attempt_is_live(self) -> bool:
        return self._attempt is not None and self._attempt.state is not DONE

    # inside: towards the client

    def _begin_stream(self, attempt: Attempt, events: bytes) -> StreamRelay | None:
        """Begin the client's stream with its first events, unless they say that there will be none.

        An engine may begin a stream before it knows that it cannot serve it. That is a failure before the first byte.
        """
        began = perf_counter()
        request, context = self._request, self.context
        stream = request.dialect.stream(context, strip_usage=request.strip_usage)
        events = stream.feed(events)
        if stream.refused:
            assert stream.failure is not None
            self._stream_refused(attempt, stream.failure)
            return None
        self._relay = relay = StreamRelay(self._client, context, stream, attempt.head.down, events)
        self._state = RELAYING
        context.overhead += perf_counter() - began
        return relay

    def _stream_refused(self, attempt: Attempt, error: GatewayError) -> None:
        """Answer with the error that came instead of a stream, or ask another replica if it is this one's."""
        if error.status >= 500:
            attempt.count("failed")
            self._go_on_after(attempt, error, retry=True)
        else:
            attempt.count("ok")
            self._fail(error)

    def _complete_stream(self, attempt: Attempt, relay: StreamRelay, last: bytes) -> None:
        """End the client's stream, and await the engine's last bytes."""
        attempt.count("ok" if relay.stream.failure is None else "failed")
        if attempt.connection is not None:
            attempt.connection.relay = None
        relay.complete(last)
        self._state = FLUSHING
        self._client.finished(self.context, perf_counter())

    def _break_silence(self, now: float) -> None:
        """Send a comment after the interval, committing to a stream if the engine has not begun one."""
        interval = self._owner.deadlines.keep_alive_comment
        relay, context, request = self._relay, self.context, self._request
        if isinstance(relay, StreamRelay):
            relay.break_silence(now, interval)
        elif relay is None and now - context.received_at >= interval:
            stream = request.dialect.stream(context, strip_usage=request.strip_usage)
            self._relay = StreamRelay(self._client, context, stream, b"", sse.KEEP_ALIVE)

    # inside: keeping deadlines

    def _enforce_deadlines(self, now: float) -> None:
        """Fail if the queue, the engine or the whole request took too long; silence counts against the replica."""
        limits, attempt, waited = self._owner.deadlines, self._attempt, now - self.context.received_at
        if self._state is QUEUED:
            allowed = min(limits.queue, limits.total)
            if waited > allowed:
                self._metrics.queue_timeouts += 1
                self._fail(self._pool.admission.timed_out(allowed))
            return
        asked = attempt if not self.paused else None
        silence = 0.0 if asked is None else now - max(asked.sent_at, self._last_at)
        late = overdue(limits, None if asked is None else asked.state, waited=waited, silence=silence)
        if late is None:
            return
        self._count_abort("timeout")
        if attempt is not None and attempt.state is not DONE:
            if late.silent:
                attempt.replica.failed(late.message)
            attempt.count("timeout")
        first = self._race.error if self._race is not None else None
        self._fail(first or UpstreamTimeout(late.message))

    def _count_abort(self, reason: str) -> None:
        if self._attempt_is_live:
            self._metrics.aborts[reason] += 1

    # inside: the end

    def _fail(self, error: GatewayError) -> None:
        """End with an error: as the response, as the last events of a stream, or as a cut of what cannot be mended."""
        self.context.error = error
        if self._relay is not None:
            self._relay.fail(error)
        elif self._state is RELAYING:
            # A mistake of ours within a whole response; nobody can tell how much of it has been written.
            self.context.keep_alive = False
            self._client.cut()
        else:
            self._client.write_error(self.context, error)
        self._end(perf_counter())

    def release(self) -> None:
        """Give back everything that is held, in whatever state, and be forgotten by the owner."""
        if self._state is QUEUED:
            self._pool.admission.withdraw(self)
            self.context.queued_for = perf_counter() - self.context.received_at
        self._state = ENDED
        if self._race is not None:
            self._end_race()
        relay = self._relay
        if isinstance(relay, StreamRelay):
            relay.stream.settle()
        if self._attempt is not None:
            self._attempt.release()
        if self._slot:
            self._slot = False
            pool = self._pool
            pool.tokens_in_flight -= self._request.max_tokens
            pool.admission.release()
        self._owner.exchanges.discard(self)

    def _end(self, now: float) -> None:
        """Release everything and say that the request is over. Every way through an exchange ends here, once."""
        if self._state is not ENDED:
            self.release()
            self._client.finished(self.context, now)
