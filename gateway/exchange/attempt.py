"""One try at one replica: a first attempt, a retry and a hedge are all the same thing.

An ``Attempt`` receives one replica's response. It owns what the try has taken (the replica's in-flight count and the
connection), returns both once, and is counted once by its outcome.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, MutableMapping
from enum import Enum, auto
from time import perf_counter
from typing import Protocol

from gateway.core.context import RequestContext
from gateway.core.recording import AttemptRecord, Recording, new_span_id
from gateway.exchange.upstream_request import UpstreamRequest
from gateway.http import sse
from gateway.http.response_head import EVENTS, WHOLE, ResponseHead
from gateway.http.trace_context import with_parent
from gateway.http.upstream import Receiver, UpstreamConnection, UpstreamError
from gateway.pools.policies.policy import Assigned
from gateway.pools.replica import Replica

_MAX_HELD_BYTES = 1024 * 1024
"""A unary response up to this size, in bytes, is held until it is whole, so that an engine dying half-way is a 502."""

_MAX_ERROR_BYTES = 256 * 1024
"""How much of an engine's error response is kept."""


class AttemptState(Enum):
    """Where an attempt is."""

    CONNECTING = auto()
    SENT = auto()
    ANSWERING = auto()
    DONE = auto()


# perf: enum members, see docs/python-idioms.md.
CONNECTING, SENT, ANSWERING, DONE = AttemptState


class AttemptOwner(Protocol):
    """The exchange that an attempt belongs to: it gets the response, in whole or in parts, or learns of the failure."""

    paused: bool
    """Whether the client does not keep up, so that nothing more is to be read."""

    heard: bool
    """Set when anything comes from the engine."""

    @property
    def connect_timeout(self) -> float:
        """How long the opening of a connection may take, in seconds."""

    def attempt_whole(self, attempt: Attempt, head: ResponseHead, body: bytes) -> bool:
        """Take a whole good response that is no stream of events; decline with ``False`` where a stream has begun."""

    def attempt_head(self, attempt: Attempt, head: ResponseHead) -> None:
        """The replica has begun to respond."""

    def attempt_events(self, attempt: Attempt, events: bytes) -> None:
        """Whole events of a stream have come; none if what came ended none."""

    def attempt_body(self, attempt: Attempt, pieces: bytes) -> None:
        """A piece of a body has come that is too large to be held; the first piece is all that was held."""

    def attempt_ended(self, attempt: Attempt) -> None:
        """The response that was relayed in pieces is complete as HTTP."""

    def attempt_refused(self, attempt: Attempt, head: ResponseHead, body: bytes) -> None:
        """The replica has responded with an error."""

    def attempt_failed(self, attempt: Attempt, error: UpstreamError) -> None:
        """There is no response, or not all of it."""

    def attempt_garbled(self, attempt: Attempt, message: str) -> None:
        """The stream cannot be read as events."""


class Attempt(Receiver):
    """The receiver of one replica's response."""

    __slots__ = (
        "_attempts",
        "_begun",
        "_connecting",
        "_held",
        "_held_bytes",
        "_outcome",
        "_owner",
        "_record",
        "_released",
        "_request",
        "_splitter",
        "connection",
        "head",
        "replica",
        "sent_at",
        "slow_in",
        "state",
        "trial",
    )

    # What the response is, from its head on.
    head: ResponseHead
    _held: list[bytes]
    _held_bytes: int
    _begun: bool
    _splitter: sse.EventSplitter

    def __init__(
        self,
        owner: AttemptOwner,
        request: UpstreamRequest,
        replica: Replica,
        attempts: Mapping[str, MutableMapping[str, int]],
        released: Assigned | None,
    ) -> None:
        self._released = released
        self._owner = owner
        self._request = request
        self._attempts = attempts
        self._outcome = ""
        self._connecting: asyncio.Task[None] | None = None
        self.connection: UpstreamConnection | None = None
        self.sent_at = 0.0
        self.state = CONNECTING
        self.replica = replica
        self.slow_in: int | None = None
        """The latest window in which it was counted that the response is late, if it was."""
        self.trial = replica.trial_due
        """Whether this one request decides whether a replica that was ejected is ready again."""
        if self.trial:
            replica.trial_due = False
        replica.load.entered()
        recording = request.context.recording
        self._record = None if recording is None else _recorded(recording, request.context, replica)

    def __repr__(self) -> str:
        return f"<Attempt at {self.replica.name} [{self.state.name.lower()}]>"

    def take_rest(self) -> bytes:
        """Give what has come of a stream and was not handed on: comments before any event, or an unfinished end."""
        return self._take_held() + self._splitter.flush()

    @property
    def pending_event(self) -> bool:
        """Whether the beginning of an event has come whose end has not."""
        return self._splitter.pending > 0

    @property
    def answering(self) -> bool:
        """Whether the response has begun. That of a stream begins with its first event: vLLM sends the head at once."""
        return self.state is ANSWERING and (self.head.kind is not EVENTS or self._begun)

    def connect(self) -> None:
        """Ask on a new connection."""
        self.state = CONNECTING
        self._connecting = self.replica.connections.connect(
            self.send, self.receive_failure, self._owner.connect_timeout
        )

    def send(self, connection: UpstreamConnection) -> None:
        """Ask on this connection."""
        assert self.state is CONNECTING
        self._connecting = None
        self.connection = connection
        self.state = SENT
        request = self._request
        context = request.context
        record = self._record
        if record is not None:
            context.trace = record.trace
        body = request.body if not request.usage_bytes else request.body_for(self.replica)
        connection.send(request.head_for(self.replica, len(body)), body, self)
        self.sent_at = now = perf_counter()
        if record is not None:
            record.sent_at = now
        if not context.overhead:
            context.overhead = now - context.received_at - context.queued_for
        if self._owner.paused:
            connection.pause()

    def count(self, outcome: str) -> None:
        """Count the attempt as ``ok``, ``failed``, ``full``, ``timeout`` or ``aborted``; the first outcome stands."""
        if not self._outcome:
            self._outcome = outcome
            self._attempts[outcome][self.replica.name] += 1
            if self._record is not None:
                self._record.end(outcome)

    def release(self, outcome: str = "aborted") -> None:
        """Return everything, and count the attempt if it has not been counted; do nothing the second time.

        An engine that is still at work is told to stop by the closing of its connection.
        """
        if self.state is DONE:
            return
        if not self._outcome:
            self._attempts[outcome][self.replica.name] += 1
            if self._record is not None:
                self._record.end(outcome)
        if self.trial:
            self._end_trial(self._outcome or outcome)
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        connection = self.connection
        if connection is not None:
            self.connection = None
            connection.abort()
        self.state = DONE
        self.replica.load.left()
        if self._released is not None:
            self._released(self.replica, self._request)

    # called by the connection

    def receive_whole(self, head: ResponseHead, body: bytes) -> bool:
        """Take a good response that is no stream, as most are that come at once; of any other decide by its parts."""
        if head.kind is not WHOLE:
            return False
        if self._record is not None:
            self._record.status = head.status
        return self._owner.attempt_whole(self, head, body)

    def receive_head(self, head: ResponseHead) -> None:
        """Prepare for what the head announces."""
        assert self.state is SENT
        self.state = ANSWERING
        self.head = head
        record = self._record
        if record is not None:
            record.answered(head.status, streams=head.kind is EVENTS)
        self._held = []
        self._held_bytes = 0
        self._begun = False
        if head.kind is EVENTS:
            self._splitter = sse.EventSplitter()
        self._owner.heard = True
        self._owner.attempt_head(self, head)

    def receive_data(self, data: bytes) -> None:
        """Hand on whole events and pieces of large bodies; hold all other bodies until they are whole."""
        owner = self._owner
        owner.heard = True
        head = self.head
        if head.kind is EVENTS:
            try:
                events = self._splitter.feed(data)
            except sse.EventTooLarge as error:
                owner.attempt_garbled(self, f"The engine sent {error}.")
                return
            if not self._begun:
                # An engine may begin a stream before it knows that it cannot serve it, so comments are no beginning.
                self._held.append(events)
                if not sse.has_data(events):
                    return
                self._begun = True
                events = self._take_held()
            owner.attempt_events(self, events)
        elif head.kind is not WHOLE:
            if self._held_bytes < _MAX_ERROR_BYTES:
                self._hold(data)
        elif self._held_bytes > _MAX_HELD_BYTES:
            owner.attempt_body(self, data)
        else:
            self._hold(data)
            if self._held_bytes > _MAX_HELD_BYTES:
                owner.attempt_body(self, self._take_held())

    def receive_end(self) -> None:
        """Hand on what was held; the connection is no longer this attempt's."""
        self.connection = None
        head = self.head
        if head.kind is WHOLE and self._held_bytes <= _MAX_HELD_BYTES:
            self._owner.attempt_whole(self, head, self._take_held())
            return
        if head.status < 500:
            self.replica.succeeded()
        if head.kind is WHOLE or head.kind is EVENTS:
            self._owner.attempt_ended(self)
        else:
            self._owner.attempt_refused(self, head, self._take_held())

    def receive_failure(self, error: UpstreamError) -> None:
        """Hand on that there is no response."""
        if self._record is not None:
            self._record.reason = str(error)
        self._connecting = None
        self.connection = None
        if self.state is not DONE:
            self._owner.attempt_failed(self, error)

    # inside

    def _end_trial(self, outcome: str) -> None:
        """Let this request, which nobody has judged yet, decide whether the replica is ready again.

        It says nothing where the client has left, or the replica is full; then there will be another one.
        """
        self.trial = False
        replica = self.replica
        if outcome == "ok":
            replica.pass_trial()
        elif outcome in ("failed", "timeout"):
            replica.suspect("failures", "The request failed with which it was tried.")
        else:
            replica.trial.release()

    def _hold(self, data: bytes) -> None:
        self._held.append(data)
        self._held_bytes += len(data)

    def _take_held(self) -> bytes:
        held, self._held = self._held, []
        return b"".join(held)


def _recorded(recording: Recording, context: RequestContext, replica: Replica) -> AttemptRecord:
    """Begin to note an attempt, whose span is the parent of what the replica records."""
    span_id, address = new_span_id(), replica.address
    record = AttemptRecord(
        span_id,
        with_parent(context.trace, span_id, record=True),
        context.model,
        replica.name,
        address.path or address.host,
        address.port,
        perf_counter(),
    )
    recording.attempts.append(record)
    return record
