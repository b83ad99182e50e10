"""Replica, pool and registry: what a model's name leads to.

The registry is immutable; a reload builds a new one and swaps the reference. What changes in place is a replica's
readiness and its count of requests in flight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from gateway.admission import Admission
from gateway.errors import BadRequest, ModelNotFound, NoReadyReplica
from gateway.hedging import Hedging
from gateway.http.client import ConnectionPool
from gateway.policies import Policy

_FAILURES_TO_DOUBT = 3
"""Consecutive failed requests after which a replica is out until a probe succeeds."""


class Replica:
    """One running copy of a model: where it is, whether it may be asked, and how much it has to do from here."""

    __slots__ = (
        "_answered",
        "_failures",
        "_pool",
        "address",
        "connections",
        "headers",
        "in_flight",
        "name",
        "ready",
        "reason",
        "state",
    )

    def __init__(
        self,
        name: str,
        connections: ConnectionPool,
        *,
        credentials: str | None = None,
        ready: bool = False,
    ) -> None:
        self.name = name
        self.connections = connections
        self.address = connections.address
        authorization = f"authorization: Bearer {credentials}\r\n".encode() if credentials else b""
        self.headers = b"host: %b\r\n%b" % (self.address.host_header, authorization)
        """The header lines that all requests to it begin with: its name, and its credentials where it wants some."""
        self.in_flight = 0
        self.ready = ready
        self.state = "ready" if ready else "starting"
        self.reason = ""
        self._failures = 0
        self._answered = False
        self._pool: Pool | None = None

    def __repr__(self) -> str:
        return f"<Replica {self.name!r} {self.address.url} [{self.state}; {self.in_flight} in flight]>"

    def joined(self, pool: Pool) -> None:
        """Belong to a pool, which is told of every change of readiness."""
        self._pool = pool

    def set_ready(self, *, ready: bool, state: str, reason: str = "") -> None:
        """Take note of what a probe or the supervisor found; ``reason`` is for people."""
        self.state, self.reason = state, reason
        if ready:
            self._failures = 0
        if ready != self.ready:
            self.ready = ready
            if self._pool is not None:
                self._pool.readiness_changed()

    def entered(self) -> None:
        """Count a request that is sent to this replica."""
        self.in_flight += 1

    def left(self) -> None:
        """Count a request out that is no longer at this replica."""
        self.in_flight -= 1

    def succeeded(self) -> None:
        """Take note of an answer to a request that does not say that the replica failed: it is well."""
        self._failures = 0
        self._answered = True

    def answered(self) -> bool:
        """Tell whether a request was answered since this was asked last."""
        answered, self._answered = self._answered, False
        return answered

    def failed(self, reason: str) -> None:
        """Take note of a request that got no answer; several in a row put the replica out until a probe succeeds."""
        self._failures += 1
        if self._failures >= _FAILURES_TO_DOUBT and self.ready:
            self.set_ready(ready=False, state="failing", reason=reason)


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
            replica.joined(self)
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


class _ByName(dict[str, Pool]):
    """The pools by each name that a client may use."""

    def __missing__(self, name: str) -> Pool:
        known = ", ".join(self) or "none"
        raise ModelNotFound(
            f"The model {name[:200]!r} does not exist here; the models are: {known[:1000]}.", param="model"
        )


class Registry:
    """Model name or alias → pool."""

    def __init__(self, pools: Iterable[Pool], aliases: Mapping[str, str] = MappingProxyType({})) -> None:
        self._pools = {pool.model: pool for pool in pools}
        self._by_name = _ByName(self._pools)
        self.find: Callable[[str], Pool] = self._by_name.__getitem__
        """Gives the pool of a model. Raises ``ModelNotFound`` naming those that exist."""
        self.replicas = tuple(replica for pool in self._pools.values() for replica in pool.replicas)
        self.connection_pools = tuple(dict.fromkeys(replica.connections for replica in self.replicas))
        for alias, model in aliases.items():
            self._by_name[alias] = self._pools[model]

    def __repr__(self) -> str:
        return f"<Registry {list(self._pools.values())!r}>"

    def __iter__(self) -> Iterator[Pool]:
        return iter(self._pools.values())

    @property
    def names(self) -> Iterable[tuple[str, Pool]]:
        """Every name that clients may use, with its pool."""
        return self._by_name.items()

    def unable(self, pool: Pool, task: str, endpoint: str) -> BadRequest:
        """Give the error for what a model's engine cannot do, naming the models that can."""
        able = [other.model for other in self._pools.values() if task in other.tasks]
        hint = f"these can: {', '.join(able)}" if able else "no model here can"
        return BadRequest(
            f"The model {pool.model!r} does not support {endpoint}; {hint}.", param="model", code="unsupported_endpoint"
        )
