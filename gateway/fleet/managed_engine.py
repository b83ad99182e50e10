"""One engine that the gateway starts and stops: where it runs, and which replica of its model's pool it is."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from engines.spec import EngineSpec
from engines.supervisor import ReplicaStatus
from gateway.pools.pool import Pool
from gateway.pools.replica import Replica, ReplicaState
from gateway.scaling.eviction import Room


class Place(Protocol):
    """Where engines run: what starts, watches, restarts and stops them, and says how each is doing."""

    @property
    def statuses(self) -> Sequence[ReplicaStatus]:
        """What every replica is doing now."""

    def add(self, spec: EngineSpec) -> ReplicaStatus | None:
        """Let there be one more replica, now or from ``start`` on; ``None`` if there is no room for it."""

    def lacks(self, spec: EngineSpec) -> str:
        """Say what there is too little of for one more replica; nothing where there is room or none is known."""

    async def remove(self, name: str, grace: float) -> None:
        """Stop a replica, giving it ``grace`` seconds to end, and forget it then."""

    def start(self) -> None:
        """Start every replica, and from now on each that is added; returns at once."""

    async def stop(self, grace: float) -> None:
        """Stop all replicas side by side, giving each ``grace`` seconds to end."""


class SleepingPlace(Place, Protocol):
    """A place whose replicas may sleep, and whose room is counted."""

    def gpus_of(self, name: str) -> frozenset[str]:
        """Give the GPUs of a replica, also of one that sleeps; none on the CPU."""

    def room_beside(self, staying: Collection[str]) -> Room:
        """Tell what is free where only these replicas are awake."""

    async def sleep(self, name: str, level: int) -> None:
        """Put a replica to sleep, and free its GPUs then. Raises ``EngineError`` if it does not sleep."""

    def wake(self, name: str) -> bool:
        """Begin to wake a replica on the GPUs that it had; return whether they are free, else it sleeps on."""


@dataclass(slots=True, eq=False)
class ManagedEngine:
    """One engine: what it was started as, where it runs, and the replica that it is in a pool."""

    spec: EngineSpec
    place: Place
    pool: Pool
    replica: Replica
    since: float
    """When it was wanted, for the first time or after its sleep, as a ``monotonic`` reading."""
    was_ready: bool = False
    ending: bool = False
    """Whether it is being stopped or put to sleep, which is begun once, whatever is said of it meanwhile."""

    def wanted_again(self) -> None:
        """Begin anew: it is woken, which takes its time as a start does."""
        self.since, self.was_ready = monotonic(), False

    @property
    def draining(self) -> bool:
        """Whether it is on its way out."""
        return self.replica.leaving or self.replica.state in (ReplicaState.DRAINING, ReplicaState.STOPPED)

    @property
    def asleep(self) -> bool:
        """Whether it sleeps, which makes it one that is neither there nor on its way."""
        return self.replica.state is ReplicaState.ASLEEP

    @property
    def stays_awake(self) -> bool:
        """Whether it is there or on its way, and neither sleeps nor leaves."""
        return not (self.draining or self.asleep)

    @property
    def finds_no_room(self) -> bool:
        """Whether its cluster has looked for room for as long as a start may take."""
        return self.replica.state is ReplicaState.PENDING and self.waited > self.spec.startup_timeout

    @property
    def waited(self) -> float:
        """For how long it has been wanted, in seconds."""
        return monotonic() - self.since
