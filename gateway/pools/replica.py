"""One running copy of a model on one engine: its address, its state, and how many requests it has in flight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from time import perf_counter
from typing import Protocol

from gateway.http.address import Address
from gateway.http.connection_pool import ConnectionPool
from gateway.pools.ejection import CAUSES, Cause, Ejection, Finding, LocalTrial, Overseer, Trial, ejection_seconds

EJECT_AFTER_FAILURES = 3
"""Consecutive requests without a response after which a replica is ejected, and probes after which it fails."""

EJECT_AFTER_ERRORS = 5
"""Consecutive responses of 500, 502 or 504 after which a replica is ejected, as Envoy's ``consecutive_5xx`` has it."""


class ReplicaState(StrEnum):
    """What a replica is doing. Only one that is ``READY`` gets requests.

    An engine that is started here goes ``FETCHING`` → ``STARTING`` → ``READY``, back through ``RESTARTING`` when it
    ends unasked, and to ``FAILED`` or ``STOPPED`` at last; the supervisor says so. One on a cluster is ``PENDING``
    before, until there is room for it. One that is not needed may be ``ASLEEP``, and is ``STARTING`` when it is woken.
    A remote one begins ``STARTING``.
    Failed probes turn ``READY`` into ``FAILING``, and a probe that succeeds turns it back. Requests turn it into
    ``EJECTED`` for a while, if the pool can spare it; then a probe that succeeds turns that into ``HALF_OPEN``, in
    which it gets one request, and that decides. ``DRAINING`` gets nothing new and finishes what it has; it ends when
    the pool removes the replica, which is ``STOPPED`` then.
    """

    PENDING = "pending"
    FETCHING = "fetching"
    STARTING = "starting"
    READY = "ready"
    FAILING = "failing"
    EJECTED = "ejected"
    HALF_OPEN = "half_open"
    ASLEEP = "asleep"
    RESTARTING = "restarting"
    DRAINING = "draining"
    FAILED = "failed"
    STOPPED = "stopped"


class ReplicaLoad(Protocol):
    """How much a replica has to do: from this process alone, or from all processes of the node together."""

    @property
    def in_flight(self) -> int:
        """How many requests are at the replica, from all who count together."""

    @property
    def here(self) -> int:
        """How many of them are counted by this process."""

    def entered(self) -> None:
        """Count a request that is sent to the replica."""

    def left(self) -> None:
        """Count a request out that is no longer at the replica."""

    def correct(self, in_flight: int) -> None:
        """Count so many requests of this process from now on, whatever was counted before."""


class LocalLoad:
    """How much a replica has to do from this process alone."""

    __slots__ = ("in_flight",)

    def __init__(self) -> None:
        self.in_flight = 0

    def entered(self) -> None:
        """Count a request that is sent to the replica."""
        self.in_flight += 1

    def left(self) -> None:
        """Count a request out that is no longer at the replica."""
        self.in_flight -= 1

    @property
    def here(self) -> int:
        """How many requests are at the replica: all are counted here."""
        return self.in_flight

    def correct(self, in_flight: int) -> None:
        """Count so many requests from now on."""
        self.in_flight = in_flight


class Replica:
    """One running copy of a model on one engine: where it is, whether it may be asked, and how much it has to do."""

    __slots__ = (
        "_errors",
        "_failed_probes",
        "_failures",
        "_observers",
        "adapters",
        "address",
        "answers",
        "cache_tokens",
        "connections",
        "ejection",
        "ejections",
        "foreign",
        "headers",
        "key",
        "knows_stream_options",
        "latencies",
        "leaving",
        "load",
        "name",
        "on_suspicion",
        "overseer",
        "probe_failures",
        "ready",
        "reason",
        "restarts",
        "state",
        "trial",
        "trial_due",
        "weight",
    )

    def __init__(
        self,
        name: str,
        connections: ConnectionPool,
        *,
        credentials: str | None = None,
        ready: bool = False,
        load: ReplicaLoad | None = None,
        trial: Trial | None = None,
        weight: float = 1.0,
    ) -> None:
        self.name = name
        self.connections = connections
        self.address = connections.address
        self.headers = header_lines(self.address, credentials)
        """The header lines that all requests to it begin with: its name, and its credentials where it wants some."""
        self.key = ""
        """The key of an engine that was started elsewhere, which no configuration names."""
        self.knows_stream_options = True
        """Whether a stream's usage may be asked for; strict servers refuse a field that they do not know."""
        self.load: ReplicaLoad = LocalLoad() if load is None else load
        self.answers = 0
        """How many requests it has answered; in the parent of several processes, those of its children."""
        self.state = ReplicaState.READY if ready else ReplicaState.STARTING
        self.ready = ready
        self.reason = ""
        self.restarts = 0
        """How often its engine has ended unasked and was started again."""
        self.weight = weight
        """How much of the requests it gets, beside the others of its pool; 0 for nothing new."""
        self.foreign = 0.0
        """About how many requests of others its engine has; 0 where that is not known."""
        self.cache_tokens = 0
        """How many tokens the KV cache of its engine has room for; 0 where that is not known."""
        self.adapters: frozenset[str] = frozenset()
        """The LoRA adapters that its engine has loaded, by name."""
        self.leaving = False
        """Whether it is to drain as soon as another of its pool is ready."""
        self.overseer: Overseer | None = None
        """Who decides whether it is ejected; its pool says so."""
        self.on_suspicion: Callable[[], None] | None = None
        """Called when requests have found it failing, so that it is probed at once."""
        self.trial: Trial = LocalTrial() if trial is None else trial
        self.trial_due = False
        """Whether the next request that is sent to it is the one that decides whether it is ready again."""
        self.ejection: Ejection | None = None
        self.ejections: dict[Cause, int] = dict.fromkeys(CAUSES, 0)
        """How often it was ejected, by the cause."""
        self.probe_failures = 0
        self.latencies: list[float] = []
        """After how many seconds the latest responses began; ``LatencyOutliers`` takes them away."""
        self._failures = 0
        self._errors = 0
        self._failed_probes = 0
        self._observers: tuple[Callable[[Replica], None], ...] = ()

    def __repr__(self) -> str:
        return f"<Replica {self.name!r} {self.address.url} [{self.state}; {self.in_flight} in flight]>"

    @property
    def in_flight(self) -> int:
        """How many requests are at the replica. Policies read ``load.in_flight``, which saves a call."""
        return self.load.in_flight

    def observe(self, changed: Callable[[Replica], None]) -> None:
        """Call ``changed`` from now on whenever the state, its reason or the loaded adapters are others."""
        self._observers = (*self._observers, changed)

    def set_state(self, state: ReplicaState, reason: str = "") -> None:
        """Take over what a probe, the supervisor or an operator says; ``reason`` is for people.

        A replica that drains stays so, also when it is found failing or stopped meanwhile, until ``drained``.
        """
        if self.state is not ReplicaState.DRAINING:
            self._set_state(state, reason)

    def set_weight(self, weight: float) -> None:
        """Take over how much of the requests it gets."""
        if weight != self.weight:
            self.weight = weight
            for changed in self._observers:
                changed(self)

    def set_adapters(self, adapters: frozenset[str]) -> None:
        """Take over which adapters its engine has loaded."""
        if adapters != self.adapters:
            self.adapters = adapters
            for changed in self._observers:
                changed(self)

    def move(self, connections: ConnectionPool, key: str) -> None:
        """Be asked at another address from now on, with a key if that is not empty. Called by the pool that has it."""
        self.connections, self.address, self.key = connections, connections.address, key
        self.headers = header_lines(self.address, key)

    def drained(self) -> None:
        """End draining: nothing is in flight any more. Called by the pool that removes the replica."""
        self._set_state(ReplicaState.STOPPED, self.reason)

    def _set_state(self, state: ReplicaState, reason: str) -> None:
        if state is self.state and reason == self.reason:
            return
        if state is ReplicaState.RESTARTING and self.state is not state:
            self.restarts += 1
        if state is not self.state:
            self.trial.release()
        if state is ReplicaState.READY:
            self._failures = self._errors = self._failed_probes = 0
            if self.ejection is not None and self.ejection.ended_at is None:
                self.ejection = replace(self.ejection, ended_at=perf_counter())
        self.state, self.reason = state, reason
        self.ready = state is ReplicaState.READY
        for changed in self._observers:
            changed(self)

    # what requests find

    def succeeded(self) -> None:
        """Count a response that does not say that the replica failed: it is well."""
        self._failures = self._errors = self._failed_probes = 0
        self.answers += 1

    def set_answers(self, answers: int) -> None:
        """Take over how many requests other processes got answered; a new one shows that the replica is well."""
        if answers != self.answers:
            self.answers = answers
            self._failures = self._failed_probes = 0

    def failed(self, reason: str) -> None:
        """Count a request that got no response; several in a row make the replica suspect.

        While it gets none, those that it had before say nothing new.
        """
        self._failures += 1
        if self._failures % EJECT_AFTER_FAILURES == 0 and self.ready:
            self.suspect("failures", reason)

    def erred(self, reason: str) -> None:
        """Count a response that says that the replica failed; several in a row make it suspect."""
        self._errors += 1
        if self._errors % EJECT_AFTER_ERRORS == 0 and self.ready:
            self.suspect("errors", reason)

    def suspect(self, cause: Finding, reason: str) -> None:
        """Let it be decided whether the replica is ejected."""
        if self.overseer is not None:
            self.overseer.suspect(self.name, cause, reason)

    def claim_trial(self) -> bool:
        """Whether the next request that is sent to it is the one that decides; only while no other one is."""
        self.trial_due = self.trial.claim()
        return self.trial_due

    def pass_trial(self) -> None:
        """That request has succeeded."""
        if self.overseer is not None:
            self.overseer.readmit(self.name)

    # what follows from it

    def eject(self, cause: Cause, reason: str, base: float) -> float:
        """Send it nothing for ``base`` seconds, or longer if it was ejected before; return for how long."""
        now = perf_counter()
        number = 1 if self.ejection is None else self.ejection.next_number(now, base)
        seconds = ejection_seconds(number, base)
        self.ejection = Ejection(number, now + seconds, reason)
        self.ejections[cause] += 1
        self.set_state(ReplicaState.EJECTED, reason)
        return seconds

    def expect_the_worst(self) -> None:
        """Let the next probe decide if it fails, and not only the third."""
        self._failed_probes = EJECT_AFTER_FAILURES

    # what probes find

    def probe_failed(self, reason: str) -> None:
        """Count a probe that failed: a replica that is ready is given up after several, requests included."""
        self.probe_failures += 1
        self._failed_probes += 1
        if self._failures + self._failed_probes >= EJECT_AFTER_FAILURES or not self.ready:
            self.set_state(ReplicaState.FAILING, reason)

    def probe_succeeded(self, now: float) -> None:
        """Take note that the replica lives: it is ready, or, if it was ejected, as soon as a request shows it too."""
        ejection, self._failed_probes = self.ejection, 0
        if ejection is None or ejection.ended_at is not None:
            self.set_state(ReplicaState.READY)
        elif now < ejection.until:
            self.set_state(ReplicaState.EJECTED, ejection.reason)
        else:
            self.set_state(ReplicaState.HALF_OPEN, ejection.reason)


def header_lines(address: Address, credentials: str | None) -> bytes:
    """Write the header lines that all requests to an address begin with."""
    authorization = f"authorization: Bearer {credentials}\r\n".encode() if credentials else b""
    return b"host: %b\r\n%b" % (address.host_header, authorization)
