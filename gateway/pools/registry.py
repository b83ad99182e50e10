"""Replica, pool and registry: what a model's name leads to.

The registry is immutable; a reload builds a new one and swaps the reference. What changes in place is a replica's
readiness and its count of requests in flight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType

from gateway.core.errors import BadRequest, ModelNotFound
from gateway.pools.pool import Pool


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

    def first_able(self, task: str, may_use: Callable[[str], bool]) -> Pool:
        """Give the first model that can do a task and may be used. Raises ``BadRequest`` if there is none."""
        for pool in self._pools.values():
            if task in pool.tasks and may_use(pool.model):
                return pool
        raise BadRequest(f"The field model is missing, and no model here can {task}; see /v1/models.", param="model")

    def unable(self, pool: Pool, task: str, endpoint: str, may_use: Callable[[str], bool]) -> BadRequest:
        """Give the error for what a model's engine cannot do, naming the usable models that can."""
        able = [other.model for other in self._pools.values() if task in other.tasks and may_use(other.model)]
        hint = f"these can: {', '.join(able)}" if able else "no model here can"
        return BadRequest(
            f"The model {pool.model!r} does not support {endpoint}; {hint}.", param="model", code="unsupported_endpoint"
        )
