"""Where replicas come from: addresses that the configuration names, or engines that are started here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.config.models import ModelConfig, OnnxModel, RemoteModel, VllmModel
from gateway.config.schema import Config
from gateway.http.address import Address
from gateway.http.connection_pool import ConnectionPools
from gateway.pools.admission import Admission
from gateway.pools.policies import POLICIES
from gateway.pools.pool import Pool
from gateway.pools.registry import Registry
from gateway.pools.replica import Replica


@dataclass(frozen=True, slots=True)
class Parts:
    """What a registry is built of: objects that count for themselves, or for several processes.

    ``replica`` and ``pool`` take what ``Replica`` and ``Pool`` take, ``admission`` the model's name, the limit and the
    length of the queue.
    """

    replica: Callable[..., Replica] = Replica
    admission: Callable[[str, int | None, int], Admission] = lambda _, limit, max_queue: Admission(limit, max_queue)
    pool: Callable[..., Pool] = Pool


_PLAIN = Parts()


def registry_of(config: Config, started_here: Mapping[str, str], parts: Parts = _PLAIN) -> Registry:
    """Build every pool. ``started_here`` gives the address of each replica that the supervisor starts, by its name."""
    pools = []
    aliases: dict[str, str] = {}
    connections = ConnectionPools(connect_timeout=config.gateway.timeouts.connect)

    def replica(name: str, address: str, **options: Any) -> Replica:
        return parts.replica(name, connections.of(Address.parse(address)), **options)

    for name, model in config.models.items():
        if model.engine == "remote":
            replicas = remote_replicas(name, model, replica)
        else:
            replicas = supervised_replicas(name, model, started_here, replica)
        pools.append(pool_of(name, model, replicas, parts))
        aliases |= dict.fromkeys(model.aliases, name)
    return Registry(pools, aliases)


def replica_names(name: str, model: ModelConfig) -> list[str]:
    """Name every replica of a model."""
    count = len(model.urls) if model.engine == "remote" else model.replicas
    return [f"{name}-{index}" for index in range(count)]


def pool_of(name: str, model: ModelConfig, replicas: list[Replica], parts: Parts) -> Pool:
    """Put a model's replicas behind its policy and its admission."""
    return parts.pool(
        name,
        replicas,
        policy=POLICIES[model.policy](),
        admission=parts.admission(name, model.limits.max_in_flight, model.limits.max_queue),
        tasks=frozenset(model.tasks_here),
        upstream_model=model.upstream_model if model.engine == "remote" else None,
        required=model.required,
        send_priority=model.send_priority,
        cache_salt=model.cache_salt,
        hedge=model.hedge,
    )


def remote_replicas(name: str, model: RemoteModel, replica: Callable[..., Replica]) -> list[Replica]:
    """Take the addresses that the configuration names; the key comes from the environment, never from the file."""
    return [
        replica(each, url, credentials=model.api_key)
        for each, url in zip(replica_names(name, model), model.urls, strict=True)
    ]


def supervised_replicas(
    name: str,
    model: VllmModel | OnnxModel,
    started_here: Mapping[str, str],
    replica: Callable[..., Replica],
) -> list[Replica]:
    """Take the addresses at which the supervisor will start this model's engines."""
    return [replica(each, started_here[each]) for each in replica_names(name, model)]
