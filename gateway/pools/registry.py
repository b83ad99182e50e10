"""What a model's name leads to: the model, and through it the pool that answers.

The registry is immutable; a reload builds a new one and swaps the reference. What changes in place are the replicas of
a pool and their states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

from gateway.core.errors import BadRequest, ModelNotFound
from gateway.http.connection_pool import ConnectionPool
from gateway.pools.model import Model
from gateway.pools.pool import Confirmed, Pool
from gateway.pools.replica import Replica


class _ByName(dict[str, Model]):
    """The models by each name that a client may use."""

    def __missing__(self, name: str) -> Model:
        known = ", ".join(self) or "none"
        raise ModelNotFound(
            f"The model {name[:200]!r} does not exist here; the models are: {known[:1000]}.", param="model"
        )


class Registry:
    """Model name or alias → model → pool."""

    def __init__(self, models: Iterable[Model], closing: Iterable[Pool] = ()) -> None:
        self.models = tuple(models)
        self.closing = tuple(closing)
        """Pools that no model leads to any more; they are kept until their last request has ended."""
        self.pools: tuple[Pool, ...] = tuple(dict.fromkeys(model.pool for model in self.models))
        """Each pool once, however many models it has."""
        self._by_name = _ByName({model.name: model for model in self.models})
        for model in self.models:
            self._by_name |= dict.fromkeys(model.aliases, model)
        self.find: Callable[[str], Model] = self._by_name.__getitem__
        """Gives the model of a name or an alias. Raises ``ModelNotFound`` naming those that exist."""

        self.connection_pools: tuple[ConnectionPool, ...] = ()
        """The connections to all replicas; replicas at one address share theirs."""
        self._list_connections()
        for pool in self.pools:
            pool.observe(self._list_connections)

    def __repr__(self) -> str:
        return f"<Registry of {len(self.models)} models {list(self.pools)!r}>"

    @property
    def names(self) -> Mapping[str, Model]:
        """Every name that clients may use, with its model."""
        return MappingProxyType(self._by_name)

    @property
    def replicas(self) -> tuple[Replica, ...]:
        """The replicas of all pools."""
        return tuple(replica for pool in self.pools for replica in pool.replicas)

    @property
    def adapters(self) -> Sequence[Model]:
        """All LoRA adapters."""
        return [model for model in self.models if model.parent is not None]

    @property
    def pools_by_model(self) -> Mapping[str, Pool]:
        """The pool of each model that is no adapter, by the model's name."""
        return {model.name: model.pool for model in self.models if model.parent is None}

    def tick(self, now: float, confirmed: Confirmed | None = None) -> None:
        """Remove replicas that have drained and pools that nobody needs, and find replicas that are too slow.

        ``now`` is a ``perf_counter`` reading.
        """
        for pool in self.pools:
            if pool.draining:
                pool.remove_drained(confirmed)
            if len(pool.replicas) > 1:
                pool.ejections.judge_latencies(now)
        if self.closing:
            for pool in self.closing:
                pool.remove_drained(confirmed)
                if confirmed is None or confirmed(pool):
                    pool.drain_if_idle(now)
            self.closing = tuple(pool for pool in self.closing if pool.replicas)

    def first_able(self, task: str, may_use: Callable[[str], bool]) -> Model:
        """Give the first model that can do a task and may be used. Raises ``BadRequest`` if there is none."""
        for model in self.models:
            if task in model.tasks and may_use(model.name):
                return model
        raise BadRequest(f"The field model is missing, and no model here can {task}; see /v1/models.", param="model")

    def unable(self, model: Model, task: str, endpoint: str, may_use: Callable[[str], bool]) -> BadRequest:
        """Give the error for what a model's engine cannot do, naming the usable models that can."""
        able = [other.name for other in self.models if task in other.tasks and may_use(other.name)]
        hint = f"these can: {', '.join(able)}" if able else "no model here can"
        return BadRequest(
            f"The model {model.name!r} does not support {endpoint}; {hint}.", param="model", code="unsupported_endpoint"
        )

    def succeeded_by(self, newer: Registry) -> None:
        """Give way to a newer registry: connections that it does not have are not kept any more."""
        for pool in self.pools:
            pool.ignore(self._list_connections)
        for unused in set(self.connection_pools).difference(newer.connection_pools):
            unused.retire()

    def _list_connections(self, _pool: Pool | None = None) -> None:
        """List the connections anew; called by a pool whose replicas changed. Those no longer used are closed."""
        before = self.connection_pools
        self.connection_pools = tuple(dict.fromkeys(replica.connections for replica in self.replicas))
        for unused in set(before).difference(self.connection_pools):
            unused.retire()
