"""The replicas of one model, the policy that picks among them, and the admission in front of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from gateway.core.errors import NoReadyReplica
from gateway.pools.admission import Admission
from gateway.pools.hedge_budget import Hedging
from gateway.pools.policies import Policy
from gateway.pools.replica import Replica


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
    """The replicas of one model, the policy that picks among them, and the admission in front of them."""

    __slots__ = (
        "admission",
        "cache_salt",
        "hedging",
        "max_model_len",
        "model",
        "policy",
        "ready",
        "replicas",
        "required",
        "send_priority",
        "tasks",
        "tokens_in_flight",
        "upstream_model",
    )

    def __init__(
        self,
        model: str,
        replicas: Iterable[Replica],
        *,
        policy: Policy,
        admission: Admission,
        tasks: frozenset[str],
        upstream_model: str | None = None,
        required: bool = True,
        send_priority: bool = False,
        cache_salt: bool = False,
        hedge: bool = False,
    ) -> None:
        self.model = model
        self.replicas = tuple(replicas)
        self.policy = policy
        self.admission = admission
        self.tasks = tasks
        self.upstream_model = upstream_model or model
        self.required = required
        self.send_priority = send_priority
        self.cache_salt = cache_salt
        self.hedging = Hedging() if hedge and len(self.replicas) > 1 else None
        self.tokens_in_flight = 0
        self.max_model_len: int | None = None
        self.ready: list[Replica] = []
        for replica in self.replicas:
            replica.on_readiness(self.readiness_changed)
        self.readiness_changed()

    def __repr__(self) -> str:
        in_flight = sum(replica.in_flight for replica in self.replicas)
        counts = f"{len(self.ready)} ready, {len(self.replicas) - len(self.ready)} not"
        return f"<Pool {self.model!r} [{counts}; {in_flight} in flight, {self.admission.waiting} queued]>"

    def load(self, now: float) -> Load:
        """Tell how much there is to do; ``now`` is a ``perf_counter`` reading."""
        admission = self.admission
        return Load(admission.running, admission.waiting, admission.oldest_wait(now), self.tokens_in_flight)

    def learned_length(self, max_model_len: int | None) -> None:
        """Take note of how many tokens a request may have, as an engine says."""
        self.max_model_len = max_model_len

    def readiness_changed(self) -> None:
        """Recount the ready replicas; called by a replica whose readiness changed."""
        self.ready = [replica for replica in self.replicas if replica.ready]

    def pick(self, tried: tuple[Replica, ...] = ()) -> Replica:
        """Choose a ready replica that was not tried yet. Raises ``NoReadyReplica``."""
        ready = self.ready
        if tried:
            ready = [replica for replica in ready if replica not in tried]
        if len(ready) == 1:
            return ready[0]
        if not ready:
            raise self.not_ready()
        return self.policy.pick(ready)

    def not_ready(self) -> NoReadyReplica:
        """Give the error that says why no replica can answer."""
        states = sorted({replica.state for replica in self.replicas}) or ["absent"]
        starting = any(replica.state in ("fetching", "starting", "restarting") for replica in self.replicas)
        return NoReadyReplica(
            f"The model {self.model!r} has no ready replica ({', '.join(states)}).",
            retry_after=2.0 if starting else 5.0,
        )
