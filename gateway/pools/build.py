"""Builds the registry that a configuration describes: models, their pools, and the replicas of those."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
from gateway.pools.replica import LocalLoad, Replica, ReplicaLoad
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
    counting = LocalCounting() if counting is None else counting
    connections = ConnectionPools(connect_timeout=config.gateway.timeouts.connect, fast_paths=config.gateway.fast_paths)
    models: dict[str, Model] = {}
    for pool_name, sharing in pools_of(config).items():
        settings = config.models[pool_name]
        credentials = settings.api_key if settings.engine == "remote" else None
        replicas = [
            Replica(name, connections.of(Address.parse(url)), credentials=credentials, load=counting.replica_load(name))
            for name, url in _addresses(pool_name, settings, started_here)
        ]
        pool = _pool(pool_name, settings, replicas, counting)
        models |= {name: _model(name, config.models[name], pool) for name in sharing}
    # In the order of the file, which is that of ``/v1/models``.
    return Registry(models[name] for name in config.models)


def pools_of(config: Config) -> dict[str, list[str]]:
    """Group the models that share a pool, by the name of the pool, which is that of its first model.

    Remote models share one when they have the same addresses and credentials, and the same options of routing and
    admission (``POOL_OPTIONS``). So two models with different limits at one address each have their own.
    """
    groups: dict[object, list[str]] = {}
    for name, model in config.models.items():
        key = tuple(getattr(model, option) for option in POOL_OPTIONS) if model.engine == "remote" else name
        groups.setdefault(key, []).append(name)
    return {names[0]: names for names in groups.values()}


def replica_names(pool: str, settings: ModelConfig) -> list[str]:
    """Name every replica of a pool."""
    count = len(settings.urls) if settings.engine == "remote" else settings.replicas
    return [f"{pool}-{index}" for index in range(count)]


def _addresses(pool: str, settings: ModelConfig, started_here: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Give each replica's name and address: those of the configuration, or those where engines are started here."""
    names = replica_names(pool, settings)
    if settings.engine == "remote":
        yield from zip(names, settings.urls, strict=True)
    else:
        yield from ((name, started_here[name]) for name in names)


def _pool(name: str, settings: ModelConfig, replicas: list[Replica], counting: Counting) -> Pool:
    limit = settings.limits.max_in_flight
    slots = None if limit is None else counting.slots(name, limit)
    return Pool(
        name,
        replicas,
        policy=POLICIES[settings.policy](settings),
        admission=Admission(limit, settings.limits.max_queue, slots=slots),
        hedge=settings.hedge,
        load=counting.pool_load(name),
    )


def _model(name: str, settings: ModelConfig, pool: Pool) -> Model:
    return Model(
        name,
        pool,
        tasks=settings.tasks_here,
        upstream_name=settings.upstream_model if settings.engine == "remote" else None,
        aliases=settings.aliases,
        required=settings.required,
        send_priority=settings.send_priority,
        cache_salt=settings.cache_salt,
    )
