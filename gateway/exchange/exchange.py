"""One request between its client and an engine: admitted, attempted at one or more replicas, relayed, and released.

An ``Exchange`` is driven by callbacks from both sides of the wire and from the ticker; it never awaits, and ends
exactly once, in ``_end``. What a replica says reaches it through an ``Attempt``, what the client gets in pieces leaves
it through a relay, and what follows a failure is decided by ``decide``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from time import perf_counter
from typing import Any

from gateway.core.engine_error import says_that_it_is_dead
from gateway.core.errors import FirstByteTimeout, GatewayError, TotalTimeout, Unavailable, UpstreamFailed
from gateway.exchange.attempt import ANSWERING, DONE, SENT, Attempt
from gateway.exchange.deadlines import overdue
from gateway.exchange.decide import Failure
from gateway.exchange.ports import Stream
from gateway.exchange.recovery import Recovery
from gateway.exchange.relay import BodyRelay, StreamRelay
from gateway.exchange.state import ENDED, FLUSHING, PREPARING, QUEUED, RELAYING, TRYING
from gateway.exchange.upstream_side import UpstreamSide
from gateway.http import sse
from gateway.http.error_response import add_advice
from gateway.http.request_parser import refusal
from gateway.http.response_head import EVENTS, ResponseHead
from gateway.pools.queue import Ticket

_LAST_BYTES_SECONDS = 5.0
"""How long an engine may take to end its response after its stream's end marker, before the connection is closed."""


class Exchange(UpstreamSide):
    """One request, its attempts and its relay."""

    __slots__ = ()

    def __repr__(self) -> str:
        parts = [self._state.name.lower(), *map(repr, filter(None, (self._attempt, self._race, self._relay)))]
        return f"<Exchange {self.context.request_id} {self.context.model!r} [{'; '.join(parts)}]>"

    @property
    def _total(self) -> float:
        """How long the request may take in all, in seconds."""
        asked, allowed = self.context.head.timeout, self._timeouts.total
        return allowed if asked is None else min(asked, allowed)

    @property
    def _waits_until(self) -> float:
        """Until when it may wait in the queue; it leaves at once a queue in which it would be held."""
        pool = self._pool
        if not pool.admission.open and not self._request.waits_for_replica:
            return pool.waits.gate_moved_at
        queue = self._owner.deadlines.queue
        until = pool.waits.until(self._queued_at, queue, held=not pool.admission.open)
        return min(until, self.context.received_at + self._total)

    @property
    def queued(self) -> bool:
        """Whether it still waits for its slot."""
        return self._state is QUEUED

    def start(self) -> None:
        """Take a slot and ask a replica, or wait in the queue. Raises ``Unavailable`` when that is full too."""
        assert self._state is PREPARING
        pool = self._pool
        if not pool.ready and (pool.admission.open or not self._request.waits_for_replica):
            raise pool.not_ready(self.context.model)
        # It may be granted its slot before ``admit`` returns.
        self._state = QUEUED
        try:
            admitted = pool.admission.admit(self)
        except Unavailable:
            self._state = PREPARING
            self._metrics.refused += 1
            raise
        if admitted:
            self._metrics.admitted += 1
            self._hold_slot()
            self._try()
        else:
            self._metrics.queued += 1
            if not pool.admission.open:
                self._metrics.held += 1

    def prepare(self, phases: Coroutine[Any, Any, None]) -> None:
        """Run what may wait before a slot is taken, then start; an error that it raises is the response.

        Meanwhile the client can leave, deadlines hold and a drain waits, as in every other state.
        """
        assert self._state is PREPARING
        self._preparing = asyncio.get_running_loop().create_task(phases)
        self._preparing.add_done_callback(self._prepared)

    def _prepared(self, task: asyncio.Task[None]) -> None:
        self._preparing = None
        if task.cancelled() or self._state is ENDED:
            return
        cause = task.exception()
        if cause is not None:
            self._fail(refusal(cause))
            return
        try:
            self.start()
        except GatewayError as error:
            self._fail(error)

    # called by admission

    @property
    def ticket(self) -> Ticket:
        """What admission has to know of it; it begins to wait now."""
        request, key, now = self._request, self.context.head.key, perf_counter()
        self._queued_at = now
        # A client may stand back behind others of its key, and not push ahead of them.
        return Ticket(key.group, max(key.priority, request.priority), request.tokens, self._waits_until - now)

    def granted(self) -> None:
        """Leave the queue with a slot; go on in a turn of its own, so that a long queue cannot become a deep stack."""
        assert self._state is QUEUED
        self._count_wait(perf_counter())
        self._hold_slot()
        asyncio.get_running_loop().call_soon(self._go_on)

    def displaced(self, error: Unavailable) -> None:
        """End: its place in a full queue went to a tenant that has fewer requests there."""
        self._metrics.refused += 1
        self._fail(error)

    # called by the client's connection

    def client_left(self, reason: str) -> None:
        """Abort in whatever state: nobody waits for the response any more."""
        if self._state is ENDED:
            return
        self._count_abort(reason)
        self.context.status = 499
        self._end(perf_counter())

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

    def next_deadline(self, now: float) -> float:
        """Give the earliest moment at which a deadline may pass, as far as that can be told now."""
        limits, attempt = self._timeouts, self._attempt
        received_at = self.context.received_at
        if self._state is QUEUED:
            return self._waits_until
        silence = min(limits.first_byte, limits.between_bytes)
        heard_at = now if attempt is None else max(attempt.sent_at, self._last_at)
        return min(received_at + self._total, max(heard_at, now - silence) + silence)

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
        replica = attempt.replica
        replica.succeeded()
        if attempt.slow_in is None:
            replica.latencies.append(began - attempt.sent_at)
        if attempt.trial:
            self._end_trial(attempt, began - attempt.sent_at)
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

    def attempt_events(self, attempt: Attempt, events: bytes) -> None:
        """Relay whole events, as far as the dialect lets them through."""
        if self._state is FLUSHING:
            return
        relay, recovery = self._relay, self._recovery
        if recovery is not None:
            events = recovery.rewrite(events)
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
        elif attempt.connection is not None and recovery is None and self.context.head.version == "1.1":
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
            self._end_stream(attempt, relay)

    # inside: towards the engines

    def _hold_slot(self) -> None:
        """Hold the slot that admission has given, and count the tokens that may be produced."""
        self._slot = True
        self._state = TRYING
        self._pool.tokens_in_flight += self._request.max_tokens

    def _count_wait(self, now: float) -> None:
        """Count how long it has waited for a slot."""
        context = self.context
        context.queued_for += now - self._queued_at
        if context.recording is not None:
            context.recording.waits.append((self._queued_at, now))

    def _wait_for_return(self, error: GatewayError, now: float) -> None:
        """Wait in the queue for a replica that may come back, or fail with ``error`` if there is no place."""
        self._held_since = self._held_since or now
        self._tried = ()
        pool = self._pool
        self._slot = False
        pool.tokens_in_flight -= self._request.max_tokens
        pool.admission.release(self)
        self._state = QUEUED
        try:
            admitted = pool.admission.admit(self)
        except Unavailable:
            self._state = TRYING
            self._fail(error)
            return
        if admitted:
            self._hold_slot()
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        """Ask a replica, if the client has not left meanwhile; wait again if all replicas have."""
        if self._state is not TRYING:
            return
        pool = self._pool
        if not pool.ready and self._may_be_held(now := perf_counter()):
            self._wait_for_return(pool.not_ready(self.context.model), now)
        else:
            self._try()

    # inside: towards the client

    def _begin_stream(self, attempt: Attempt, events: bytes) -> StreamRelay | None:
        """Begin the client's stream with its first events, unless they say that there will be none.

        An engine may begin a stream before it knows that it cannot serve it. That is a failure before the first byte.
        """
        began = perf_counter()
        context, stream = self.context, self._new_stream()
        events = stream.feed(events)
        if stream.refused:
            assert stream.failure is not None
            self._stream_refused(attempt, stream.failure)
            return None
        if attempt.slow_in is None:
            attempt.replica.latencies.append(began - attempt.sent_at)
        if attempt.trial:
            self._end_trial(attempt, began - attempt.sent_at)
        self._relay = relay = StreamRelay(self._client, context, stream, attempt.head.down, events)
        self._state = RELAYING
        context.overhead += perf_counter() - began
        return relay

    def _end_stream(self, attempt: Attempt, relay: StreamRelay | None) -> None:
        """End a stream whose body has ended cleanly: properly if its dialect finds it complete, else with an error."""
        stream = self._new_stream() if relay is None else relay.stream
        rest = attempt.take_rest()
        last = stream.end(rest if self._recovery is None else self._recovery.rewrite(rest))
        if stream.refused and relay is None:
            assert stream.failure is not None
            self._stream_refused(attempt, stream.failure)
        elif last is None:
            attempt.count("failed")
            self._go_on_within(attempt, UpstreamFailed("The engine's stream ended before it was complete."))
        else:
            if relay is None:
                self._relay = relay = StreamRelay(self._client, self.context, stream, attempt.head.down, b"")
            self._complete_stream(attempt, relay, last)
            if self._state is FLUSHING:
                self.release()

    def _new_stream(self) -> Stream:
        request = self._request
        begin = request.dialect.stream
        if request.recorded is not None and len(self._pool.replicas) > 1:
            begin = request.recorded
        stream = begin(self.context, strip_usage=request.strip_usage)
        if not self._owner.fast_paths:
            stream.read_each_event()
        return stream

    def _stream_refused(self, attempt: Attempt, error: GatewayError) -> None:
        """Answer with the error that came instead of a stream, or ask another replica if it is this one's."""
        add_advice(error, attempt.head)
        self._note_if_full(attempt, error)
        attempt.count("failed" if error.status >= 500 else "ok")
        self._count_error(attempt, error)
        self._go_on_after(attempt, Failure.told_by(error))

    def _complete_stream(self, attempt: Attempt, relay: StreamRelay, last: bytes) -> None:
        """End the client's stream, and await the engine's last bytes, unless another replica is to go on with it."""
        failure = relay.stream.failure
        attempt.count("ok" if failure is None else "failed")
        if attempt.connection is not None:
            attempt.connection.relay = None
        if failure is not None and says_that_it_is_dead(failure):
            attempt.replica.suspect("dead", failure.message)
        if failure is not None and relay.stream.withheld:
            if last:
                relay.write(last)
            self._go_on_within(attempt, failure)
            return
        if self._recovery is not None:
            self._recovery.outcome = "recovered" if failure is None else "failed"
            last = self._recovery.marked(last)
        relay.complete(last)
        self._state = FLUSHING
        self._client.finished(self.context, perf_counter())

    def _go_on_within(self, attempt: Attempt, error: GatewayError) -> None:
        """Let another replica go on with a stream that has broken off; fail where that is not possible."""
        relay = self._relay
        is_stream = attempt.state is ANSWERING and attempt.head.kind is EVENTS
        if not is_stream or self._request.recorded is None or len(self._pool.replicas) < 2:
            self._fail(error)
        elif not isinstance(relay, StreamRelay):
            self._go_on_after(attempt, Failure(error, reached=True))
        elif relay.stream.events:
            self._recover(attempt, relay, error)
        else:
            # The client has got comments only.
            relay.stream = self._new_stream()
            self._go_on_after(attempt, Failure(error, reached=True))

    def _recover(self, attempt: Attempt, relay: StreamRelay, error: GatewayError) -> None:
        """Ask another replica for the rest of a stream, unless only its end marker is missing."""
        recovery = self._recovery
        if recovery is None:
            recovery = self._recovery = Recovery(self._request, error)
        recovery.cuts += 1
        last = relay.stream.finish()
        if last is not None:
            self._complete_stream(attempt, relay, last)
            self.release()
            return
        first = recovery.request
        continuation = relay.stream.resume(first.body, first.usage_bytes)
        if continuation is None:
            recovery.outcome = "ineligible"
            self._fail(recovery.error)
            return
        self._request = recovery.go_on_with(continuation)
        self._go_on_after(attempt, Failure(error, reached=True))

    def _break_silence(self, now: float) -> None:
        """Send a comment after the interval, committing to a stream if the engine has not begun one."""
        interval = self._owner.deadlines.keep_alive_comment
        relay, context = self._relay, self.context
        if isinstance(relay, StreamRelay):
            relay.break_silence(now, interval)
        elif relay is None and now - context.received_at >= interval and not self._has_other_head():
            self._relay = StreamRelay(self._client, context, self._new_stream(), b"", sse.KEEP_ALIVE)

    def _has_other_head(self) -> bool:
        """Whether a response has begun that is no stream, and must not be preceded by comments."""
        attempt = self._attempt
        return attempt is not None and attempt.state is ANSWERING and attempt.head.kind is not EVENTS

    # inside: keeping deadlines

    def _enforce_deadlines(self, now: float) -> None:
        """Fail if the queue or the whole request took too long; go on at another replica where one is silent."""
        attempt = self._attempt
        if self._state is QUEUED:
            if now > self._waits_until:
                self._metrics.queue_timeouts += 1
                self._fail(self._pool.waited_too_long(self.context.model, now - self._queued_at))
            return
        silence, answering = 0.0, False
        if attempt is not None and not self.paused and attempt.state in (SENT, ANSWERING):
            silence, answering = now - max(attempt.sent_at, self._last_at), attempt.answering
        waited = now - self.context.received_at
        late = overdue(self._timeouts, total=self._total, waited=waited, silence=silence, answering=answering)
        if late is None:
            if silence > self._pool.ejections.slow_after and not answering:
                assert attempt is not None
                self._note_slow(attempt, silence, now)
            return
        self._count_abort("timeout")
        if attempt is not None and attempt.state is not DONE:
            attempt.count("timeout")
        if isinstance(late, TotalTimeout):
            first = self._race.failure if self._race is not None else None
            self._fail(late if first is None else first.error)
            return
        assert attempt is not None
        attempt.replica.failed(late.message)
        if isinstance(late, FirstByteTimeout):
            self._go_on_after(attempt, Failure(late, reached=True))
        else:
            self._go_on_within(attempt, late)

    # inside: the end

    def _fail(self, error: GatewayError) -> None:
        """End with an error: as the response, as the last events of a stream, or as a cut of what cannot be mended."""
        self.context.error = error
        recovery = self._recovery
        if recovery is not None and recovery.outcome == "aborted":
            recovery.outcome = "failed"
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
            self._count_wait(perf_counter())
        self._state = ENDED
        if self._preparing is not None:
            self._preparing.cancel()
        relay = self._relay
        if isinstance(relay, StreamRelay):
            relay.stream.settle()
        if self._attempt is not None or self._race is not None:
            self._release_attempts()
        if self._recovery is not None:
            self._metrics.recoveries[self._recovery.outcome] += 1
            self._recovery = None
        if self._slot:
            self._slot = False
            pool = self._pool
            pool.tokens_in_flight -= self._request.max_tokens
            pool.admission.release(self)
        self._owner.exchanges.discard(self)

    def _end(self, now: float) -> None:
        """Release everything and say that the request is over. Every way through an exchange ends here, once."""
        if self._state is not ENDED:
            self.release()
            self._client.finished(self.context, now)
