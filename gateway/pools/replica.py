"""One running copy of a model on one engine: its address, its state, and how many requests it has in flight."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from gateway.http.address import Address
from gateway.http.connection_pool import ConnectionPool

EJECT_AFTER_FAILURES = 3
"""Consecutive failed requests after which a replica is ejected until a probe succeeds."""


class ReplicaState(StrEnum):
    """What a replica is doing. Only one that is ``READY`` gets requests.

    An engine that is started here goes ``FETCHING`` → ``STARTING`` → ``READY``, back through ``RESTARTING`` when it
    ends unasked, and to ``FAILED`` or ``STOPPED`` at last; the supervisor says so. A remote one begins ``STARTING``.
    Failed requests and probes turn ``READY`` into ``FAILING``, and a probe that succeeds turns it back. ``DRAINING``
    gets nothing new and finishes what it has; it ends when the pool removes the replica, which is ``STOPPED`` then.
    """

    FETCHING = "fetching"
    STARTING = "starting"
    READY = "ready"
    FAILING = "failing"
    RESTARTING = "restarting"
    DRAINING = "draining"
    FAILED = "failed"
    STOPPED = "stopped"


class ReplicaLoad(Protocol):
    """How much a replica has to do: from this process alone, or from all processes of the node together."""

    @property
    def in_flight(self) -> int:
        """How many requests are at the replica, from all who count together."""

    def entered(self) -> None:
        """Count a request that is sent to the replica."""

    def left(self) -> None:
        """Count a request out that is no longer at the replica."""


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


class Replica:
    """One running copy of a model on one engine: where it is, whether it may be asked, and how much it has to do."""

    __slots__ = (
        "_failures",
        "_observers",
        "address",
        "answers",
        "connections",
        "headers",
        "knows_stream_options",
        "leaving",
        "load",
        "name",
        "on_ejection",
        "ready",
        "reason",
        "restarts",
        "state",
    )

    def __init__(
        self,
        name: str,
        connections: ConnectionPool,
        *,
        credentials: str | None = None,
        ready: bool = False,
        load: ReplicaLoad | None = None,
    ) -> None:
        self.name = name
        self.connections = connections
        self.address = connections.address
        self.headers = header_lines(self.address, credentials)
        """The header lines that all requests to it begin with: its name, and its credentials where it wants some."""
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
        self.leaving = False
        """Whether it is to drain as soon as another of its pool is ready."""
        self.on_ejection: Callable[[Replica], None] | None = None
        """Called when failed requests have ejected the replica, as opposed to what a probe or the supervisor says."""
        self._failures = 0
        self._observers: tuple[Callable[[Replica], None], ...] = ()

    def __repr__(self) -> str:
        return f"<Replica {self.name!r} {self.address.url} [{self.state}; {self.in_flight} in flight]>"

    @property
    def in_flight(self) -> int:
        """How many requests are at the replica. Policies read ``load.in_flight``, which saves a call."""
        return self.load.in_flight

    def observe(self, changed: Callable[[Replica], None]) -> None:
        """Call ``changed`` from now on whenever the state or its reason is another."""
        self._observers = (*self._observers, changed)

    def set_state(self, state: ReplicaState, reason: str = "") -> None:
        """Take over what a probe, the supervisor or an operator says; ``reason`` is for people.

        A replica that drains stays so, also when it is found failing or stopped meanwhile, until ``drained``.
        """
        if self.state is not ReplicaState.DRAINING:
            self._set_state(state, reason)

    def drained(self) -> None:
        """End draining: nothing is in flight any more. Called by the pool that removes the replica."""
        self._set_state(ReplicaState.STOPPED, self.reason)

    def _set_state(self, state: ReplicaState, reason: str) -> None:
        if state is ReplicaState.READY:
            self._failures = 0
        if state is self.state and reason == self.reason:
            return
        if state is ReplicaState.RESTARTING and self.state is not state:
            self.restarts += 1
        self.state, self.reason = state, reason
        self.ready = state is ReplicaState.READY
        for changed in self._observers:
            changed(self)

    def succeeded(self) -> None:
        """Count a response that does not say that the replica failed: it is well."""
        self._failures = 0
        self.answers += 1

    def set_answers(self, answers: int) -> None:
        """Take over how many requests other processes got answered; a new one shows that the replica is well."""
        if answers != self.answers:
            self.answers = answers
            self._failures = 0

    def failed(self, reason: str) -> None:
        """Count a request that got no response; several in a row eject the replica until a probe succeeds."""
        self._failures += 1
        if self._failures >= EJECT_AFTER_FAILURES and self.ready:
            self.set_state(ReplicaState.FAILING, reason)
            if self.on_ejection is not None:
                self.on_ejection(self)


def header_lines(address: Address, credentials: str | None) -> bytes:
    """Write the header lines that all requests to an address begin with."""
    authorization = f"authorization: Bearer {credentials}\r\n".encode() if credentials else b""
    return b"host: %b\r\n%b" % (address.host_header, authorization)
