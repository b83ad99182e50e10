"""The engines' side of an exchange: attempts at replicas, one after the other or two in a race."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import MutableSet
from time import perf_counter
from typing import Any, Protocol

from gateway.core.engine_error import says_that_it_is_dead
from gateway.core.errors import ConnectTimeout, FirstByteTimeout, GatewayError, Retry, Unavailable, UpstreamFailed
from gateway.exchange.attempt import CONNECTING, DONE, Attempt
from gateway.exchange.decide import FULL, Failure, Next, decide, says_no_more_than_try_elsewhere
from gateway.exchange.holding import Holding
from gateway.exchange.ports import Deadlines
from gateway.exchange.race import CallLater, Race
from gateway.exchange.recovery import Recovery
from gateway.exchange.relay import BodyRelay, StreamRelay
from gateway.exchange.state import ENDED, FLUSHING, PREPARING, QUEUED
from gateway.exchange.upstream_request import UpstreamRequest
from gateway.http.downstream import Downstream
from gateway.http.error_response import read_error
from gateway.http.response_head import WHOLE, ResponseHead
from gateway.http.upstream import UpstreamError
from gateway.observe.counters import Counters, ModelMetrics, outcome_of
from gateway.pools.pool import Pool
from gateway.pools.replica import Replica, ReplicaState


class Owner(Protocol):
    """Who keeps all exchanges under way."""

    deadlines: Deadlines
    metrics: Counters
    fast_paths: bool
    """Whether events that come again are recognised by their bytes."""
    call_later: CallLater

    @property
    def exchanges(self) -> MutableSet[Any]:
        """Those under way; each leaves by itself at its end."""


class UpstreamSide(ABC):
    """The engines' side of an exchange: which replica is asked, what follows a failure, and which response counts.

    A retry and a hedge are further attempts. The client's side, ``Exchange``, is built on it.
    """

    __slots__ = (
        "_attempt",
        "_client",
        "_failure",
        "_held_since",
        "_last_at",
        "_metrics",
        "_owner",
        "_pool",
        "_preparing",
        "_queued_at",
        "_race",
        "_recovery",
        "_relay",
        "_request",
        "_slot",
        "_state",
        "_timeouts",
        "_tried",
        "context",
        "heard",
        "paused",
    )

    def __init__(self, owner: Owner, pool: Pool, request: UpstreamRequest, client: Downstream) -> None:
        self._owner = owner
        self._pool = pool
        # A reload changes them for others, and not in the middle of a request.
        self._timeouts = pool.waits.timeouts
        self._client = client
        self._slot = False
        self._request = request
        self.context = context = request.context
        # perf: method as a value, see docs/python-idioms.md.
        metrics_of = owner.metrics.of
        self._metrics: ModelMetrics = metrics_of(context.model)
        self._state = PREPARING
        self._preparing: asyncio.Task[None] | None = None
        self._queued_at = 0.0
        """When it began to wait for a slot, if it did."""
        self._attempt: Attempt | None = None
        self._race: Race | None = None
        """Where the request may be asked of a second replica, or is, while the first has not responded."""
        self._tried: tuple[Replica, ...] = ()
        self._recovery: Recovery | None = None
        self._failure: Failure | None = None
        """How the latest attempt has failed that had reached its replica, or else the first one, if any has."""
        self._held_since = 0.0
        """When it began to wait for a replica that was lost, if it did."""
        self._relay: BodyRelay | StreamRelay | None = None
        self.paused = False
        # The tick turns this into a moment, so that an event need not look at the clock.
        self.heard = False
        self._last_at = context.received_at

    @property
    def holding(self) -> Holding | None:
        """What it holds, as it sees it itself; ``None`` when it is over."""
        if self._state is ENDED:
            return None
        attempt, race = self._attempt, self._race
        replicas = () if attempt is None or attempt.state is DONE else (attempt.replica,)
        if race is not None and race.rival is not None and race.rival is not attempt and race.running:
            replicas = (*replicas, race.rival.replica)
        return Holding(self._pool, self._state is QUEUED, self._slot, self._request.max_tokens, replicas)

    @property
    def connect_timeout(self) -> float:
        """How long the opening of a connection to a replica may take, in seconds."""
        return self._timeouts.connect

    # called by the client's connection

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

    # called by the attempts

    def attempt_head(self, attempt: Attempt, head: ResponseHead) -> None:
        """Let a replica that responds to the request win over its rival."""
        if self._race is not None and not says_no_more_than_try_elsewhere(head):
            self._win(attempt)
        if head.kind is WHOLE and self._relay is not None:
            self._fail(UpstreamFailed("The engine answered a streaming request without a stream."))

    def attempt_refused(self, attempt: Attempt, head: ResponseHead, body: bytes) -> None:
        """Answer with the engine's error in our shape, unless it is one that another replica may not have."""
        error = read_error(head, body)
        self._note_if_full(attempt, error)
        attempt.count(outcome_of(head.status))
        self._count_error(attempt, error)
        if self._request.usage_bytes and head.status in (400, 422) and b"stream_options" in body:
            self._ask_without_usage(attempt)
            return
        failure = Failure.told_by(error)
        if head.status == 404 and self._request.adapter is not None:
            failure = Failure.not_loaded(error)
        self._go_on_after(attempt, failure)

    def attempt_failed(self, attempt: Attempt, error: UpstreamError) -> None:
        """Ask another replica if no byte of a response has come, else fail."""
        if self._state is FLUSHING:
            self.release()
            return
        failed = ConnectTimeout(str(error)) if error.timed_out else UpstreamFailed(str(error))
        reached = attempt.state is not CONNECTING
        if decide(stale=error.stale, asked=len(self._tried)) is Next.RECONNECT:
            attempt.connect()
            return
        if not error.answered or len(self._pool.replicas) > 1:
            # A response that breaks off says little about a replica, and where it is the only one there is no better.
            attempt.replica.failed(str(error))
        attempt.count("failed")
        if error.answered:
            self._go_on_within(attempt, failed)
        else:
            self._go_on_after(attempt, Failure(failed, reached=reached, lost=True))

    def attempt_garbled(self, attempt: Attempt, message: str) -> None:
        """Fail: what follows cannot be read either."""
        attempt.count("failed")
        self._fail(UpstreamFailed(message))

    # inside

    def _try(self) -> None:
        """Choose a replica and ask it."""
        try:
            replica = self._pool.pick(self._request, self._tried)
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
        attempt = Attempt(self, self._request, replica, self._metrics.attempts, self._pool.released)
        connection = replica.connections.take()
        if connection is None:
            attempt.connect()
        else:
            attempt.send(connection)
        return attempt

    def _arrange_race(self, delay: float | None, first: Replica) -> None:
        """Arrange for a second replica to be asked, where there is one and it is known when a response is late."""
        if delay is not None and len(self._pool.ready) > 1:
            self._race = Race(self._pool, self._request, first, self._ask, delay, self._owner.call_later)

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

    def _note_if_full(self, attempt: Attempt, error: GatewayError) -> None:
        """Let a replica be passed over that is full, and tell the client when to come back if its engine did not."""
        if error.status in FULL:
            self._pool.pass_over(attempt.replica, perf_counter(), error.retry_after)
            if error.retry_after is None:
                error.retry_after = self._pool.admission.expected_wait()

    def _ask_without_usage(self, refused: Attempt) -> None:
        """Ask a replica once more that refused the field by which we ask for usage, and remember that it does."""
        refused.release()
        refused.replica.knows_stream_options = False
        if self._pool.assigned is not None:
            self._pool.assigned(refused.replica, self._request)
        self._attempt = self._ask(refused.replica)
        self.context.retries += 1

    def _go_on_after(self, attempt: Attempt, failure: Failure) -> None:
        """Do what ``decide`` says after an attempt has failed; of two, the client is told what the first has said."""
        attempt.release()
        self._tried = (*self._tried, attempt.replica)
        before = self._failure
        if failure.reached or before is None:
            self._failure = failure
        now = perf_counter()
        # Where all that are left have said lately that they are full, to ask them only adds to their load.
        able = self._pool.able(self._request.adapter)
        left = [replica for replica in able if replica not in self._tried]
        others = any(not failure.full or self._pool.full.has_room(replica, now) for replica in left)
        race = self._race
        first = race.failure if race is not None and race.failure is not None else failure
        retry = first.may_be_retried(idempotent=self._request.dialect.idempotent)
        follows = decide(
            asked=len(self._tried),
            retry=retry,
            others=others,
            rival=race is not None and (race.running if attempt is self._attempt else self._attempt_is_live),
            repeated=before is not None and failure.has_cause_of(before),
            affordable=first.full or (retry and self._pool.affords_retry(now)),
            # A replica that is lost counts as ready until several requests have found it so.
            returns=self._recovery is None and (failure.lost or not self._pool.ready) and self._may_be_held(now),
        )
        match follows:
            case Next.WAIT:
                assert race is not None
                if attempt is self._attempt:
                    race.failure = failure
                    self._follow_rival(race)
                else:
                    self._race = None
            case Next.RETRY:
                if not first.full:
                    self._pool.spend_retry(now)
                self._metrics.retries["retried"] += 1
                self._end_race()
                self._try()
            case Next.HOLD:
                self._metrics.retries["held"] += 1
                self._end_race()
                self._wait_for_return(first.error, now)
            case _:
                if follows is Next.OVER_BUDGET:
                    self._metrics.retries["over_budget"] += 1
                recovery = self._recovery
                if recovery is None:
                    self._fail(first.error)
                    return
                recovery.outcome = (
                    "over_budget" if follows is Next.OVER_BUDGET else "failed" if others else "no_replica"
                )
                self._fail(recovery.error)

    def _count_error(self, attempt: Attempt, error: GatewayError) -> None:
        """Count an error against the replica, if another one may not have it; one that is full is not failing."""
        if says_that_it_is_dead(error):
            attempt.replica.suspect("dead", error.message)
        elif error.retry is Retry.YES and outcome_of(error.status) == "failed":
            attempt.replica.erred(error.message)

    def _end_trial(self, attempt: Attempt, latency: float) -> None:
        """Let a response that has begun decide whether a replica that was ejected is ready again."""
        attempt.trial = False
        if latency <= self._pool.ejections.slow_after:
            attempt.replica.pass_trial()
        else:
            attempt.replica.suspect("latency", f"The response began after {latency:.3g} s with which it was tried.")

    def _note_slow(self, attempt: Attempt, silence: float, now: float) -> None:
        """Count a request that waits for longer than usual, and leave a replica that was ejected meanwhile."""
        replica, window = attempt.replica, self._pool.ejections.window
        if attempt.slow_in != window:
            attempt.slow_in = window
            replica.latencies.append(silence)
        if attempt.trial:
            self._end_trial(attempt, silence)
        if replica.state is ReplicaState.EJECTED and self._can_leave(now):
            self._metrics.aborts["ejected"] += 1
            attempt.count("timeout")
            message = f"The engine had not begun to answer after {silence:.3g} s, when its replica was ejected."
            self._go_on_after(attempt, Failure(FirstByteTimeout(message), reached=True))

    def _can_leave(self, now: float) -> bool:
        """Whether the request would be asked of another replica if it left its first one, and do no harm by that."""
        return (
            not self._tried
            and self._race is None
            and self._request.dialect.idempotent
            and bool(self._pool.ready)
            and self._pool.affords_retry(now)
        )

    def _may_be_held(self, now: float) -> bool:
        """Whether it may wait for a replica to come back: for as long as requests are held, from the first time on."""
        pool, since = self._pool, self._held_since or now
        return self._request.waits_for_replica and pool.may_return and now - since < pool.waits.hold

    @property
    def _attempt_is_live(self) -> bool:
        return self._attempt is not None and self._attempt.state is not DONE

    def _count_abort(self, reason: str) -> None:
        if self._attempt_is_live:
            self._metrics.aborts[reason] += 1

    def _release_attempts(self) -> None:
        """Give back what the attempts hold, and forget them: they know this exchange, and a cycle would outlive it."""
        if self._race is not None:
            self._end_race()
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.release()

    # what the client's side does

    @abstractmethod
    def attempt_whole(self, attempt: Attempt, head: ResponseHead, body: bytes) -> bool:
        """Take a whole good response."""

    @abstractmethod
    def attempt_events(self, attempt: Attempt, events: bytes) -> None:
        """Relay whole events."""

    @abstractmethod
    def attempt_body(self, attempt: Attempt, pieces: bytes) -> None:
        """Relay a piece of a large body."""

    @abstractmethod
    def attempt_ended(self, attempt: Attempt) -> None:
        """End what was relayed in pieces."""

    @abstractmethod
    def _go_on_within(self, attempt: Attempt, error: GatewayError) -> None:
        """Let another replica go on with a response that has broken off, or fail."""

    @abstractmethod
    def _wait_for_return(self, error: GatewayError, now: float) -> None:
        """Wait in the queue for a replica that may come back, or fail with ``error``."""

    @abstractmethod
    def release(self) -> None:
        """Give back everything that is held."""

    @abstractmethod
    def _fail(self, error: GatewayError) -> None:
        """End with an error."""
