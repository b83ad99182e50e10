"""Builds the registry that a configuration describes: models, their pools, and the replicas of those."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from typing import Protocol

from gateway.config.models import ModelConfig
from gateway.config.schema import Config
from gateway.http.address import Address
from gateway.http.connection_pool import ConnectionPools
from gateway.pools.admission import Admission
from gateway.pools.model import Model
from gateway.pools.policies.table import POLICIES
from gateway.pools.pool import Load, Pool
from gateway.pools.registry import Registry
from gateway.pools.replica import LocalLoad, Replica, ReplicaLoad, header_lines
from gateway.pools.slots import Slots

POOL_OPTIONS = (
    "urls",
    "api_key_env",
    "policy",
    "session_header",
    "limits",
    "hedge",
    "health_interval",
)
"""The options that are a pool's and no model's: remote models that agree in all of them share one pool."""

POLICY_OPTIONS = ("policy", "session_header")
"""Those of them that make a policy. Where none has changed, the policy stays, with all that it has learnt."""


class Counting(Protocol):
    """How a registry counts: for this process alone, or for all processes of the node."""

    def replica_load(self, replica: str) -> ReplicaLoad:
        """Give what a replica has to do."""

    def slots(self, pool: str, limit: int) -> Slots | None:
        """Give the slots of a pool with a limit; ``None``: those of this process alone."""

    def pool_load(self, pool: str) -> Callable[[float], Load] | None:
        """Tell how the load of a pool is added up; ``None``: it is that of this process."""


class LocalCounting:
    """Counts for this process alone."""

    def replica_load(self, _replica: str) -> ReplicaLoad:
        """Begin to count for a replica."""
        return LocalLoad()

    def slots(self, _pool: str, _limit: int) -> Slots | None:
        """Leave the slots to the pool's own admission."""
        return None

    def pool_load(self, _pool: str) -> Callable[[float], Load] | None:
        """Leave the load to the pool."""
        return None


def build_registry(config: Config, started_here: Mapping[str, str], counting: Counting | None = None) -> Registry:
    """Build every model and its pool. ``started_here`` gives the address of each replica that is started here."""
    return RegistryBuilder(counting).build(config, started_here)


class RegistryBuilder:
    """Builds one registry after the other, each for a newer configuration, and keeps what that leaves as it was.

    A pool that is configured again, whatever of it has changed, is the same object: its requests, its queue and its
    counts live on. Replicas whose addresses and credentials stay are kept, with all that is known of them.
    """

    def __init__(self, counting: Counting | None = None) -> None:
        self._counting: Counting = LocalCounting() if counting is None else counting
        self._connections: ConnectionPools | None = None
        self._pools: dict[str, Pool] = {}
        self._settings: Mapping[str, ModelConfig] = {}
        """Those of all models, as the last registry has them."""
        self._keys: dict[object, str] = {}
        """What makes models share a pool, and the name that their pool has been given."""
        self._models: dict[str, Model] = {}

    def __repr__(self) -> str:
        return f"<RegistryBuilder [{len(self._pools)} pools]>"

    def build(self, config: Config, started_here: Mapping[str, str]) -> Registry:
        """Build every model and its pool. ``started_here`` gives the address of each replica that is started here."""
        timeout = config.gateway.timeouts.connect
        if self._connections is None:
            self._connections = ConnectionPools(connect_timeout=timeout, fast_paths=config.gateway.fast_paths)
        self._connections.set_connect_timeout(timeout)
        pools: dict[str, Pool] = {}
        models: dict[str, Model] = {}
        groups = pools_of(config)
        keys = {_sharing_key(name, config.models[name]): name for name in groups}
        for pool_name, sharing in groups.items():
            settings = config.models[pool_name]
            wanted = self._wanted(pool_name, settings, started_here)
            before = pool_name
            if before not in self._pools:
                # The model that the pool is called after may be gone, where others that share it stay.
                called = self._keys.get(_sharing_key(pool_name, settings), pool_name)
                before = called if called not in groups else pool_name
            known = self._pools.get(before)
            pool = self._new_pool(pool_name, settings, wanted) if known is None else known
            if known is not None:
                self._update(pool, self._settings[before], settings, wanted)
            pools[pool_name] = pool
            models |= {name: self._model(name, config.models[name], pool) for name in sharing}
        self._pools, self._keys, self._models, self._settings = pools, keys, models, config.models
        # In the order of the file, which is that of ``/v1/models``.
        return Registry(models[name] for name in config.models)

    def _wanted(self, pool: str, settings: ModelConfig, started_here: Mapping[str, str]) -> list[tuple[str, Address]]:
        """Give the name and the address of each replica, as if there were none yet."""
        names = replica_names(pool, settings)
        urls = settings.urls if settings.engine == "remote" else [started_here[name] for name in names]
        return [(name, Address.parse(url)) for name, url in zip(names, urls, strict=True)]

    def _replica(self, name: str, address: Address, settings: ModelConfig) -> Replica:
        assert self._connections is not None
        credentials = settings.api_key if settings.engine == "remote" else None
        load = self._counting.replica_load(name)
        lines = header_lines(address, credentials)
        ready = any(
            each.ready and (each.address.url, each.headers) == (address.url, lines)
            for pool in self._pools.values()
            for each in pool.replicas
        )
        return Replica(name, self._connections.of(address), credentials=credentials, load=load, ready=ready)

    def _new_pool(self, name: str, settings: ModelConfig, wanted: list[tuple[str, Address]]) -> Pool:
        limit = settings.limits.max_in_flight
        slots = None if limit is None else self._counting.slots(name, limit)
        return Pool(
            name,
            [self._replica(each, address, settings) for each, address in wanted],
            policy=POLICIES[settings.policy](settings),
            admission=Admission(limit, settings.limits.max_queue, slots=slots),
            hedge=settings.hedge,
            load=self._counting.pool_load(name),
        )

    def _update(
        self, pool: Pool, before: ModelConfig, settings: ModelConfig, wanted: list[tuple[str, Address]]
    ) -> None:
        """Change what is different now."""
        pool.admission.set_limits(settings.limits.max_in_flight, settings.limits.max_queue)
        if any(getattr(before, option) != getattr(settings, option) for option in POLICY_OPTIONS):
            pool.set_policy(POLICIES[settings.policy](settings))
        pool.set_hedging(hedge=settings.hedge)
        credentials = settings.api_key if settings.engine == "remote" else None
        kept = {(each.address.url, each.headers): each for each in pool.replicas if not each.leaving}
        taken = {replica.name for replica in pool.replicas}
        come = []
        for _, address in wanted:
            if kept.pop((address.url, header_lines(address, credentials)), None) is None:
                name = next(name for number in count() if (name := f"{pool.name}-{number}") not in taken)
                taken.add(name)
                come.append(self._replica(name, address, settings))
        if come or kept:
            pool.replace(come, list(kept.values()))

    def _model(self, name: str, settings: ModelConfig, pool: Pool) -> Model:
        model = Model(
            name,
            pool,
            tasks=settings.tasks_here,
            upstream_name=settings.upstream_model if settings.engine == "remote" else None,
            aliases=settings.aliases,
            required=settings.required,
            send_priority=settings.send_priority,
            cache_salt=settings.cache_salt,
            guard=settings.guard,
        )
        before = self._models.get(name)
        if before is not None and (before.pool, before.upstream_name) == (pool, model.upstream_name):
            model.max_model_len = before.max_model_len
        return model


def pools_of(config: Config) -> dict[str, list[str]]:
    """Group the models that share a pool, by the name of the pool, which is that of its first model.

    Remote models share one when they have the same addresses and credentials, and the same options of routing and
    admission (``POOL_OPTIONS``). So two models with different limits at one address each have their own.
    """
    groups: dict[object, list[str]] = {}
    for name, model in config.models.items():
        groups.setdefault(_sharing_key(name, model), []).append(name)
    return {names[0]: names for names in groups.values()}


def replica_names(pool: str, settings: ModelConfig) -> list[str]:
    """Name every replica of a pool."""
    count = len(settings.urls) if settings.engine == "remote" else settings.replicas
    return [f"{pool}-{index}" for index in range(count)]


def _sharing_key(name: str, settings: ModelConfig) -> object:
    """Give what models have in common that share a pool."""
    return tuple(getattr(settings, option) for option in POOL_OPTIONS) if settings.engine == "remote" else name
