"""The replicas that answer for one or more models, the policy that picks among them, and the admission before them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from gateway.core.errors import NoReadyReplica
from gateway.pools.admission import Admission
from gateway.pools.hedge_budget import HedgeBudget
from gateway.pools.policies.policy import Assigned, Policy, Routable
from gateway.pools.replica import Replica, ReplicaState

_SOON_READY = (ReplicaState.FETCHING, ReplicaState.STARTING, ReplicaState.RESTARTING)


class Load(NamedTuple):
    """How much a pool has to do: requests running and waiting, the longest wait in seconds, tokens in flight."""

    running: int
    waiting: int
    oldest_wait: float
    tokens: int

    def saturation(self, limit: int | None) -> float:
        """Give the slots taken as a share of ``limit``; 0 without a limit."""
        return self.running / limit if limit else 0.0


class Pool:
    """The replicas that answer for one or more models, the policy that picks among them, and their admission.

    ``load`` tells how much there is to do, where that is not counted in this process. Replicas may be added, drained
    and removed while requests run.
    """

    __slots__ = (
        "_assigned",
        "_hedge_budget",
        "_load",
        "_observers",
        "_replicas_changed",
        "admission",
        "draining",
        "hedging",
        "name",
        "policy",
        "ready",
        "released",
        "replicas",
        "tokens_in_flight",
    )

    def __init__(
        self,
        name: str,
        replicas: Iterable[Replica],
        *,
        policy: Policy,
        admission: Admission,
        hedge: bool = False,
        load: Callable[[float], Load] | None = None,
    ) -> None:
        self.name = name
        self.policy = policy
        self._assigned: Assigned | None = getattr(policy, "assigned", None)
        self.released: Assigned | None = getattr(policy, "released", None)
        """To be called once for each pick, when the request is no longer at the replica; ``None``: not wanted."""
        self._replicas_changed = getattr(policy, "replicas_changed", None)
        self.admission = admission
        self._hedge_budget = HedgeBudget() if hedge else None
        self.hedging: HedgeBudget | None = None
        """When a second replica may be asked; ``None`` where there is none or hedging is off."""
        self._load = load
        self.tokens_in_flight = 0
        self.replicas: tuple[Replica, ...] = ()
        self.ready: list[Replica] = []
        self.draining: list[Replica] = []
        """Those that get nothing new, and leave the pool when they have nothing left to do."""
        self._observers: tuple[Callable[[Pool], None], ...] = ()
        self._set_replicas(tuple(replicas))

    def __repr__(self) -> str:
        in_flight = sum(replica.in_flight for replica in self.replicas)
        counts = f"{len(self.ready)} ready, {len(self.replicas) - len(self.ready)} not"
        return f"<Pool {self.name!r} [{counts}; {in_flight} in flight, {self.admission.waiting} queued]>"

    def load(self, now: float) -> Load:
        """Tell how much there is to do; ``now`` is a ``perf_counter`` reading."""
        if self._load is not None:
            return self._load(now)
        admission = self.admission
        return Load(admission.running, admission.waiting, admission.oldest_wait(now), self.tokens_in_flight)

    # which replicas there are

    def observe(self, changed: Callable[[Pool], None]) -> None:
        """Call ``changed`` from now on whenever replicas were added or removed."""
        self._observers = (*self._observers, changed)

    def add(self, replica: Replica) -> None:
        """Take a replica in, which gets requests as soon as it is ready."""
        self._set_replicas((*self.replicas, replica))

    def drain(self, replica: Replica) -> None:
        """Send a replica nothing new; ``remove_drained`` removes it when the requests that are there have ended."""
        replica.set_state(ReplicaState.DRAINING)

    def remove_drained(self) -> None:
        """Remove the replicas that were to drain and have nothing in flight any more."""
        for replica in self.draining:
            if not replica.in_flight:
                self.remove(replica)
                replica.drained()

    def remove(self, replica: Replica) -> None:
        """Forget a replica; the requests that are there go on to their end. Harmless if it is not here."""
        self._set_replicas(tuple(each for each in self.replicas if each is not replica))

    def _set_replicas(self, replicas: tuple[Replica, ...]) -> None:
        for replica in replicas:
            if replica not in self.replicas:
                replica.observe(self._sort_by_state)
        self.replicas = replicas
        self.hedging = self._hedge_budget if len(replicas) > 1 else None
        if self._replicas_changed is not None:
            self._replicas_changed(replicas)
        self._sort_by_state()
        for changed in self._observers:
            changed(self)

    def _sort_by_state(self, _replica: Replica | None = None) -> None:
        """List the replicas that are ready and those that drain anew; called by a replica whose state changed."""
        self.ready = [replica for replica in self.replicas if replica.ready]
        self.draining = [replica for replica in self.replicas if replica.state is ReplicaState.DRAINING]

    # which replica a request gets

    def pick(self, request: Routable, tried: tuple[Replica, ...] = ()) -> Replica:
        """Choose a ready replica that was not tried yet. Raises ``NoReadyReplica``."""
        ready = self.ready
        if tried:
            ready = [replica for replica in ready if replica not in tried]
        if len(ready) == 1:
            replica = ready[0]
        elif ready:
            replica = self.policy.pick(ready, request)
        else:
            raise self.not_ready(request.context.model)
        if self._assigned is not None:
            self._assigned(replica, request)
        return replica

    def not_ready(self, model: str) -> NoReadyReplica:
        """Give the error that says why no replica can answer for ``model``."""
        states = sorted({str(replica.state) for replica in self.replicas}) or ["absent"]
        starting = any(replica.state in _SOON_READY for replica in self.replicas)
        return NoReadyReplica(
            f"The model {model!r} has no ready replica ({', '.join(states)}).",
            retry_after=2.0 if starting else 5.0,
        )
