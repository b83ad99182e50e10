"""The replicas that answer for one or more models, the policy that picks among them, and the admission before them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from time import perf_counter
from typing import NamedTuple

from gateway.core.errors import AdapterNotLoaded, NoReadyReplica, Unavailable
from gateway.http.connection_pool import ConnectionPool
from gateway.pools.admission import Admission
from gateway.pools.discovered import Discovered
from gateway.pools.ejection import Overseer
from gateway.pools.ejections import ON_PROBATION, Ejections
from gateway.pools.full import FullReplicas
from gateway.pools.hedge_budget import HedgeBudget
from gateway.pools.policies.policy import Assigned, Policy, Routable
from gateway.pools.replica import Replica, ReplicaState
from gateway.pools.retry_budget import RetryBudget
from gateway.pools.waits import Waits

Confirmed = Callable[[object], bool]
"""Whether all who send requests know already what was last said of a replica or a pool."""

_SOON_READY = (ReplicaState.PENDING, ReplicaState.FETCHING, ReplicaState.STARTING, ReplicaState.RESTARTING)

_MAY_RETURN = (*_SOON_READY, *ON_PROBATION, ReplicaState.FAILING)
"""The states of a replica that requests are held for. One that has failed, stopped or drains comes back changed."""


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
        "_changing_many",
        "_hedge_budget",
        "_load",
        "_observers",
        "_outgoing",
        "_overseer",
        "_replicas_changed",
        "_retry_budget",
        "_state_changed",
        "admission",
        "assigned",
        "closing",
        "discovered",
        "draining",
        "ejections",
        "full",
        "half_open",
        "hedging",
        "name",
        "on_demand",
        "policy",
        "ready",
        "released",
        "replicas",
        "tokens_in_flight",
        "waits",
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
        self.assigned: Assigned | None
        """To be called when a request is sent to a replica that was not picked for it now; ``None``: not wanted."""
        self.released: Assigned | None
        """To be called once for each pick, when the request is no longer at the replica; ``None``: not wanted."""
        self._replicas_changed: Callable[[Sequence[Replica]], None] | None
        self._state_changed: Callable[[Replica], None] | None
        self._changing_many = False
        self._outgoing: tuple[Replica, ...] = ()
        """Replicas that serve until one of the others is ready, and drain then."""
        self.admission = admission
        self.waits = Waits()
        self.on_demand = False
        """Whether a replica is started when there is none and a request comes: here, or for replicas that are
        discovered, by what has scaled them to zero."""
        self._hedge_budget = HedgeBudget() if hedge else None
        self.hedging: HedgeBudget | None = None
        """When a second replica may be asked; ``None`` where there is none or hedging is off."""
        self._retry_budget = RetryBudget(perf_counter())
        self.full = FullReplicas()
        self._load = load
        self.tokens_in_flight = 0
        self.replicas: tuple[Replica, ...] = ()
        self.ready: list[Replica] = []
        self.draining: list[Replica] = []
        """Those that get nothing new, and leave the pool when they have nothing left to do."""
        self.discovered: Discovered | None = None
        """What a source tells of the replicas; ``None`` where they are listed by hand or started here."""
        self.half_open: list[Replica] = []
        """Those that were ejected, and are to be tried with one request."""
        self.ejections = Ejections()
        self._overseer: Overseer = self.ejections
        self.closing = False
        """Whether no model leads here any more; then the replicas go when the last request has ended."""
        self._observers: tuple[Callable[[Pool], None], ...] = ()
        self.set_policy(policy)
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

    # what a reload may change

    def set_policy(self, policy: Policy) -> None:
        """Pick by another policy from now on; what is under way is given back to the one that picked for it."""
        self.policy = policy
        self.assigned = getattr(policy, "assigned", None)
        self.released = getattr(policy, "released", None)
        self._replicas_changed = getattr(policy, "replicas_changed", None)
        self._state_changed = getattr(policy, "state_changed", None)
        if self._replicas_changed is not None and self.replicas:
            self._replicas_changed(self.replicas)

    def set_hedging(self, *, hedge: bool) -> None:
        """Begin or cease to ask a second replica where the first is late."""
        self._hedge_budget = (self._hedge_budget or HedgeBudget()) if hedge else None
        self.hedging = self._hedge_budget if len(self.replicas) > 1 else None

    def set_on_demand(self, *, on_demand: bool) -> None:
        """Begin or cease to let requests wait where there is no replica: one is started for them."""
        if on_demand is self.on_demand:
            return
        self.on_demand = on_demand
        self._hold_or_let_through()
        for changed in self._observers:
            changed(self)

    def set_waits(self, hold: float, queue_timeout: float | None) -> None:
        """Change how long requests may wait for a replica and for a slot, in seconds; those too that wait already."""
        self.waits.set_waits(hold, queue_timeout)
        self._hold_or_let_through()

    def set_overseer(self, overseer: Overseer) -> None:
        """Let somebody else decide which replicas are ejected."""
        self._overseer = overseer
        for replica in self.replicas:
            replica.overseer = overseer

    def replace(self, come: Sequence[Replica], leave: Sequence[Replica]) -> None:
        """Take replicas in and let others go: at once where others are ready, else as soon as one of the new ones is.

        So a pool whose addresses have all changed serves from the old ones until a new one can be asked.
        """
        for replica in leave:
            replica.leaving = True
        self._outgoing = (*self._outgoing, *leave)
        self._set_replicas((*self.replicas, *come))

    def keep(self, replicas: Iterable[Replica]) -> None:
        """Let replicas stay after all that were to go as soon as another one is ready."""
        kept = set(replicas)
        for replica in kept:
            replica.leaving = False
        self._outgoing = tuple(each for each in self._outgoing if each not in kept)

    # which replicas there are

    def observe(self, changed: Callable[[Pool], None]) -> None:
        """Call ``changed`` from now on whenever replicas were added or removed, or begin or cease to come on demand."""
        self._observers = (*self._observers, changed)

    def ignore(self, changed: Callable[[Pool], None]) -> None:
        """Call ``changed`` no more."""
        self._observers = tuple(each for each in self._observers if each != changed)

    def add(self, replica: Replica) -> None:
        """Take a replica in, which gets requests as soon as it is ready."""
        self._set_replicas((*self.replicas, replica))

    def drain(self, *replicas: Replica) -> None:
        """Send replicas nothing new; ``remove_drained`` removes each when the requests that are there have ended."""
        self._change_states(replicas, lambda replica: replica.set_state(ReplicaState.DRAINING))

    def remove_drained(self, confirmed: Confirmed | None = None) -> None:
        """Remove the replicas that were to drain and have nothing in flight any more.

        ``confirmed`` tells whether all who send requests know already that a replica is to drain.
        """
        idle = [each for each in self.draining if not each.in_flight and (confirmed is None or confirmed(each))]
        if idle:
            self.remove(*idle)
            self._change_states(idle, Replica.drained)

    def drain_if_idle(self, now: float) -> None:
        """Let all replicas go if no request is here, running or waiting; ``now`` is a ``perf_counter`` reading."""
        load = self.load(now)
        if not load.running and not load.waiting:
            for replica in self.replicas:
                replica.leaving = True
            self.drain(*self.replicas)

    def move(self, replica: Replica, connections: ConnectionPool, key: str) -> None:
        """Let a replica be asked at another address: its engine was started anew, and had no requests before."""
        replica.move(connections, key)
        self._set_replicas(self.replicas)

    def remove(self, *gone: Replica) -> None:
        """Forget replicas; the requests that are there go on to their end. Harmless for one that is not here."""
        leaving = set(gone)
        self._set_replicas(tuple(each for each in self.replicas if each not in leaving))

    def _set_replicas(self, replicas: tuple[Replica, ...]) -> None:
        before, now = set(self.replicas), set(replicas)
        for replica in replicas:
            if replica not in before:
                replica.observe(self._sort_by_state)
                replica.overseer = self._overseer
        self.replicas = replicas
        # One that has gone must not drain once more: its name may be another's by then.
        self._outgoing = tuple(each for each in self._outgoing if each in now)
        self.full.retain(now)
        self.ejections.replicas = replicas
        self.hedging = self._hedge_budget if len(replicas) > 1 else None
        if self._replicas_changed is not None:
            self._replicas_changed(replicas)
        # The observers hear of a new replica before an old one drains because of it.
        for changed in self._observers:
            changed(self)
        self._sort_by_state()

    def _sort_by_state(self, changed: Replica | None = None) -> None:
        """List the replicas that are ready and those that drain anew; called by a replica whose state changed."""
        if changed is not None and self._state_changed is not None:
            self._state_changed(changed)
        if self._changing_many:
            return
        self.ready = [replica for replica in self.replicas if replica.ready and replica.weight]
        self.draining = [replica for replica in self.replicas if replica.state is ReplicaState.DRAINING]
        self.half_open = [replica for replica in self.replicas if replica.state is ReplicaState.HALF_OPEN]
        if self.ready and self.discovered is not None and self._overseer is self.ejections:
            # From now on it is a fault to have none, until the source tells of zero again.
            self.set_on_demand(on_demand=False)
        if self._outgoing and any(replica not in self._outgoing for replica in self.ready):
            outgoing, self._outgoing = self._outgoing, ()
            self.drain(*outgoing)
        if not self.ready and self._overseer is self.ejections:
            self.ejections.readmit_all()
        self._hold_or_let_through()

    def _change_states(self, replicas: Iterable[Replica], change: Callable[[Replica], None]) -> None:
        """Change the states of several, and list all replicas anew once instead of after each."""
        self._changing_many = True
        try:
            for replica in replicas:
                change(replica)
        finally:
            self._changing_many = False
        self._sort_by_state()

    @property
    def may_return(self) -> bool:
        """Whether a replica is ready or may be soon, without anything being changed; one may be discovered any time."""
        if self.on_call or self.discovered is not None:
            return True
        return any(replica.state in _MAY_RETURN and replica.weight for replica in self.replicas)

    @property
    def on_call(self) -> bool:
        """Whether requests are answered: by a replica that is ready, or by one that is started for them."""
        if self.ready:
            return True
        return self.on_demand and all(replica.state is not ReplicaState.FAILED for replica in self.replicas)

    def _hold_or_let_through(self) -> None:
        """Let requests wait while no replica is ready but one may be soon.

        Where none will be, those that wait are let through too: each finds no replica, and is told so.
        """
        is_open = bool(self.ready) or not self.waits.hold or not self.may_return
        if is_open is not self.admission.open:
            self.waits.gate_moved_at = perf_counter()
            self.admission.set_open(is_open=is_open)

    # which replica a request gets

    def able(self, adapter: str | None) -> Sequence[Replica]:
        """Give the ready replicas that can answer for a LoRA adapter, or with ``None`` for the model itself."""
        return self.ready if adapter is None else [each for each in self.ready if adapter in each.adapters]

    def pick(self, request: Routable, tried: tuple[Replica, ...] = ()) -> Replica:
        """Choose a ready replica that was not tried yet. Raises ``NoReadyReplica``."""
        ready = self.ready
        if tried:
            ready = [replica for replica in ready if replica not in tried]
        elif self.half_open and (replica := self._tried_next(request.adapter)) is not None:
            ready = [replica]
        adapter = request.adapter
        if adapter is not None:
            ready = [replica for replica in ready if adapter in replica.adapters]
        if self.full.until:
            ready = self.full.left_out(ready, perf_counter())
        if len(ready) == 1:
            replica = ready[0]
        elif ready:
            replica = self.policy.pick(ready, request)
        elif adapter is not None and self.ready:
            raise self.not_loaded(adapter)
        else:
            raise self.not_ready(request.context.model)
        if self.assigned is not None:
            self.assigned(replica, request)
        return replica

    def _tried_next(self, adapter: str | None) -> Replica | None:
        """Give an ejected replica that may be tried now with a request for the model itself or for an adapter."""
        able = (each for each in self.half_open if adapter is None or adapter in each.adapters)
        return next((replica for replica in able if replica.claim_trial()), None)

    def pass_over(self, replica: Replica, now: float, retry_after: float | None) -> None:
        """Send nothing to a replica for a moment whose engine has said that it is full, as long as others are not."""
        if replica in self.replicas:
            self.full.add(replica, now, retry_after)

    def affords_retry(self, now: float) -> bool:
        """Whether one more request may be asked of another replica; ``now`` is a ``perf_counter`` reading."""
        replicas = self.replicas
        in_flight = sum(replica.in_flight for replica in replicas)
        answered = sum(replica.answers for replica in replicas)
        return self._retry_budget.allows(now, answered=answered, in_flight_each=in_flight / max(1, len(replicas)))

    def spend_retry(self, now: float) -> None:
        """Count a request that is asked of another replica."""
        self._retry_budget.spend(now)

    # why it gets none

    def waited_too_long(self, model: str, waited: float) -> Unavailable:
        """Give the error for a request for ``model`` that waited as long as it may, in seconds."""
        return self.admission.timed_out(round(waited, 1)) if self.admission.open else self.not_ready(model)

    def not_loaded(self, adapter: str) -> AdapterNotLoaded:
        """Give the error for a LoRA adapter that no ready replica has loaded."""
        return AdapterNotLoaded(
            f"The adapter {adapter!r} is not loaded at any ready replica; operators see why at /adapters of the "
            "control port.",
            retry_after=2.0,
        )

    def not_ready(self, model: str) -> NoReadyReplica:
        """Give the error that says why no replica can answer for ``model``.

        What an engine has said is for operators alone: its log may tell of paths and secrets.
        """
        states = sorted({_why_not(replica) for replica in self.replicas}) or ["absent"]
        starting = any(replica.state in _SOON_READY for replica in self.replicas)
        return NoReadyReplica(
            f"The model {model!r} has no ready replica ({', '.join(states)}).{_trouble(self.replicas)}",
            retry_after=2.0 if starting else 5.0,
        )


def _trouble(replicas: Sequence[Replica]) -> str:
    """Say that an engine has failed, and who may know why; nothing where that is not the trouble."""
    if any(each.state is ReplicaState.FAILED for each in replicas):
        trouble = "could not be started"
    elif any(each.restarts and each.state in _SOON_READY for each in replicas):
        trouble = "has ended and is started again"
    else:
        return ""
    return f" Its engine {trouble}; operators see why at /status of the control port."


def _why_not(replica: Replica) -> str:
    return f"{replica.state} with weight 0" if replica.ready and not replica.weight else str(replica.state)
