"""Where replicas come from: addresses that the configuration names, or engines that are started here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from engines.sources import FolderSource, HubSource, PackageFile, PackageSource, Source
from gateway.admission import Admission
from gateway.config import Config, ModelConfig, Timeouts
from gateway.http.client import Address
from gateway.policies import POLICIES
from gateway.registry import Pool, Registry, Replica


def registry_of(config: Config, started_here: Mapping[str, str]) -> Registry:
    """Build every pool. ``started_here`` gives the address of each replica that the supervisor starts, by its name."""
    pools = []
    aliases: dict[str, str] = {}
    for name, model in config.models.items():
        if model.engine == "remote":
            replicas = remote_replicas(name, model, config.gateway.timeouts)
        else:
            replicas = supervised_replicas(name, model, config.gateway.timeouts, started_here)
        pools.append(pool_of(name, model, replicas))
        aliases |= dict.fromkeys(model.aliases, name)
    return Registry(pools, aliases)


def pool_of(name: str, model: ModelConfig, replicas: list[Replica]) -> Pool:
    """Put a model's replicas behind its policy and its admission."""
    return Pool(
        name,
        replicas,
        policy=POLICIES[model.policy](),
        admission=Admission(model.max_in_flight, model.max_queue),
        tasks=frozenset(model.tasks_here),
        upstream_model=model.upstream_model,
        required=model.required,
        send_priority=model.send_priority,
        cache_salt=model.cache_salt,
        hedge=model.hedge,
    )


def remote_replicas(name: str, model: ModelConfig, timeouts: Timeouts) -> list[Replica]:
    """Take the addresses that the configuration names; the key comes from the environment, never from the file."""
    credentials = os.environ[model.api_key_env] if model.api_key_env is not None else None
    return [
        Replica(f"{name}-{index}", Address.parse(url), connect_timeout=timeouts.connect, credentials=credentials)
        for index, url in enumerate(model.urls)
    ]


def supervised_replicas(
    name: str, model: ModelConfig, timeouts: Timeouts, started_here: Mapping[str, str]
) -> list[Replica]:
    """Take the addresses at which the supervisor will start this model's engines."""
    names = [f"{name}-{index}" for index in range(model.replicas)]
    return [
        Replica(replica, Address.parse(started_here[replica]), connect_timeout=timeouts.connect) for replica in names
    ]


def source_of(model: ModelConfig) -> Source:
    """Tell a folder from a hub's id and from a package."""
    source = model.source
    if source is None:
        raise ValueError("a model that is started here has a source; the configuration checks that")
    if not isinstance(source, str):
        files = tuple(PackageFile(name, file.path, file.sha256) for name, file in source.files.items())
        return PackageSource(source.package, files)
    folder = Path(source).expanduser()
    looks_like_a_path = source.startswith((".", "/", "~")) or folder.is_dir()
    return FolderSource(folder.absolute()) if looks_like_a_path else HubSource(source)
