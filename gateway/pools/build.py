"""Builds the registry that a configuration describes: models, their pools, and the replicas of those."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import count
from time import perf_counter
from typing import NamedTuple, Protocol

from gateway.config.models import ModelConfig, RemoteModel, adapters_of
from gateway.config.schema import Config
from gateway.http.address import Address
from gateway.http.connection_pool import ConnectionPools
from gateway.pools.admission import Admission
from gateway.pools.discovered import Discovered, Found
from gateway.pools.ejection import LocalTrial, Trial
from gateway.pools.model import Model
from gateway.pools.policies.table import POLICIES
from gateway.pools.pool import Load, Pool
from gateway.pools.registry import Registry
from gateway.pools.replica import LocalLoad, Replica, ReplicaLoad, ReplicaState, header_lines
from gateway.pools.slots import LocalSlots, NewSlots
from gateway.pools.timeouts import Timeouts

POOL_OPTIONS = (
    "urls",
    "discover",
    "weights",
    "api_key_env",
    "policy",
    "session_header",
    "prefix_cache_tokens",
    "limits",
    "timeouts",
    "hedge",
    "health_interval",
    "outlier_factor",
)
"""The options that are a pool's and no model's: remote models that agree in all of them share one pool."""

POLICY_OPTIONS = ("policy_here", "session_header", "prefix_cache_tokens", "weighted")
"""Those of them that make a policy. Where none has changed, the policy stays, with all that it has learnt."""

_Identity = tuple[str, bytes]
"""What makes a remote replica the same: its address, and the header lines with its credentials."""


class Counting(Protocol):
    """How a registry counts: for this process alone, or for all processes of the node."""

    def replica_load(self, replica: str) -> ReplicaLoad:
        """Give what a replica has to do."""

    def replica_trial(self, replica: str) -> Trial:
        """Give the right to try a replica that was ejected."""

    def new_slots(self, pool: str) -> NewSlots:
        """Tell how the slots of a pool are made, whenever it has a limit."""

    def pool_load(self, pool: str) -> Callable[[float], Load] | None:
        """Tell how the load of a pool is added up; ``None``: it is that of this process."""


class LocalCounting:
    """Counts for this process alone."""

    def replica_load(self, _replica: str) -> ReplicaLoad:
        """Begin to count for a replica."""
        return LocalLoad()

    def replica_trial(self, _replica: str) -> Trial:
        """Let this process alone try a replica."""
        return LocalTrial()

    def new_slots(self, _pool: str) -> NewSlots:
        """Let each pool have slots of its own."""
        return LocalSlots

    def pool_load(self, _pool: str) -> Callable[[float], Load] | None:
        """Leave the load to the pool."""
        return None


class PoolLayout(NamedTuple):
    """A pool as one process tells others to have it: its name, and the name, address and key of each replica.

    The key is empty where the configuration says how a replica is asked. ``on_demand``: whether a replica is started
    when there is none and a request comes.
    """

    name: str
    replicas: tuple[tuple[str, str, str], ...]
    on_demand: bool = False

    @classmethod
    def of(cls, pool: Pool) -> PoolLayout:
        """Describe a pool as it is now."""
        replicas = tuple((replica.name, replica.address.url, replica.key) for replica in pool.replicas)
        return cls(pool.name, replicas, pool.on_demand)


class RegistryBuilder:
    """Builds one registry after the other, each for a newer configuration, and keeps what that leaves as it was.

    A pool that is configured again, whatever of it has changed, is the same object: its requests, its queue and its
    counts live on. Remote replicas whose addresses and credentials stay are kept, with all that is known of them. Which
    replicas there are of an engine that is started here is not decided here: they come as ``new_replica`` makes them.
    """

    def __init__(self, counting: Counting | None = None) -> None:
        self._counting: Counting = LocalCounting() if counting is None else counting
        self._connections: ConnectionPools | None = None
        self._pools: dict[str, Pool] = {}
        """Those that models lead to, by the first of their models."""
        self._settings: dict[Pool, ModelConfig] = {}
        """What each pool was configured by last, also those that close."""
        self._models: dict[str, Model] = {}
        self._wanted: dict[Pool, Collection[_Identity]] = {}
        """The replicas that each remote pool is to have, also those that were drained by hand and stay out."""

    def __repr__(self) -> str:
        return f"<RegistryBuilder [{len(self._pools)} pools]>"

    @property
    def pools(self) -> Collection[Pool]:
        """All pools, also those that no model leads to any more and whose replicas have not gone yet."""
        return self._settings.keys()

    @property
    def layout(self) -> Mapping[str, PoolLayout]:
        """The pools of the last registry by the first of their models, for others to ``follow``."""
        return {first: PoolLayout.of(pool) for first, pool in self._pools.items()}

    def build(self, config: Config) -> Registry:
        """Build every model and its pool, with the replicas of those that are remote."""
        self._set_connect_timeout(config)
        groups = pools_of(config)
        found = self._known_pools(config, groups)
        pools: dict[str, Pool] = {}
        for first in groups:
            settings = config.models[first]
            pool = found.get(first)
            was_remote = pool is not None and self._settings[pool].engine == "remote"
            name = self._unused_name(first) if pool is None else pool.name
            pool = self._configured(pool, name, settings, config)
            if settings.engine == "remote":
                self._set_addresses(pool, settings)
            elif was_remote:
                self._wanted.pop(pool, None)
                pool.replace((), pool.replicas)
            pools[first] = pool
        return self._registry(config, groups, pools)

    def follow(self, config: Config, layout: Mapping[str, PoolLayout]) -> Registry:
        """Build every model and its pool, with the names and the replicas that another process has chosen.

        Pools that close are emptied by that process too.
        """
        self._set_connect_timeout(config)
        groups = pools_of(config)
        known = {pool.name: pool for pool in self._settings}
        pools: dict[str, Pool] = {}
        for first in groups:
            wanted = layout[first]
            pool = pools[first] = self._configured(known.get(wanted.name), wanted.name, config.models[first], config)
            self.set_replicas(pool, wanted)
        return self._registry(config, groups, pools, follows=True)

    def set_replicas(self, pool: Pool, wanted: PoolLayout) -> None:
        """Have exactly these replicas; those that are there already stay."""
        settings = self._settings[pool]
        credentials = _credentials(settings)
        replicas = ((name, Address.parse(url), key) for name, url, key in wanted.replicas)
        missing = {(name, at.url, header_lines(at, key or credentials)): (at, key) for name, at, key in replicas}
        here = {(each.name, each.address.url, each.headers): each for each in pool.replicas}
        gone = [each for key, each in here.items() if missing.pop(key, None) is None]
        if gone:
            pool.remove(*gone)
        if missing:
            come = self._replicas([(name, at) for (name, _, _), (at, _) in missing.items()], settings)
            for replica, (_, key) in zip(come, missing.values(), strict=True):
                if key:
                    replica.move(replica.connections, key)
            pool.replace(come, ())
        _set_weights(pool, settings)
        pool.set_on_demand(on_demand=wanted.on_demand)

    def set_found(self, pool: Pool, found: Found) -> None:
        """Have the replicas that a source has found, beside those that are listed by hand."""
        settings = self._settings[pool]
        assert settings.engine == "remote"
        assert pool.discovered is not None
        pool.discovered.urls = found.urls
        self._set_addresses(pool, settings, found.spare)
        if found.at_zero and pool.waits.hold:
            # Requests are held, and counted as demand: whatever has scaled to zero starts a replica for them.
            pool.set_on_demand(on_demand=True)

    def new_replica(self, name: str, url: str) -> Replica:
        """Make a replica of an engine that the gateway starts."""
        (replica,) = self._replicas([(name, Address.parse(url))], None)
        return replica

    def move_replica(self, pool: Pool, replica: Replica, url: str, key: str) -> None:
        """Ask a replica of such an engine at another address from now on, with a key if it wants one."""
        assert self._connections is not None
        pool.move(replica, self._connections.of(Address.parse(url)), key)

    # which pool was which

    def _known_pools(self, config: Config, groups: Mapping[str, Sequence[str]]) -> dict[str, Pool]:
        """Find for each group of models the pool that is theirs already: of one of them, or one that suits them.

        The latter also finds the pool of a model that has another name now, and one that closes.
        """
        found: dict[str, Pool] = {}
        taken: set[Pool] = set()
        for first, sharing in groups.items():
            theirs = (self._models[name].pool for name in sharing if name in self._models)
            pool = next((pool for pool in theirs if pool not in taken), None)
            if pool is not None:
                found[first] = pool
                taken.add(pool)
        suiting = {_sharing_key(pool.name, settings): pool for pool, settings in self._settings.items()}
        named = {pool.name: pool for pool in self._settings if pool.closing}
        for first in [first for first in groups if first not in found]:
            pool = suiting.get(_sharing_key(first, config.models[first])) or named.get(first)
            if pool is not None and pool not in taken:
                found[first] = pool
                taken.add(pool)
        return found

    def _unused_name(self, first: str) -> str:
        """Name a pool after its first model, unless another pool that is still there has that name."""
        used = {pool.name for pool in self._settings}
        return next(name for number in count() if (name := f"{first}.{number}" if number else first) not in used)

    # pools, replicas and models

    def _configured(self, pool: Pool | None, name: str, settings: ModelConfig, config: Config) -> Pool:
        """Make a pool, or change what is different now of one that is there."""
        limits = settings.limits
        if pool is None:
            admission = Admission(
                limits.max_in_flight,
                limits.max_queue,
                max_tokens=limits.max_tokens_in_flight,
                new_slots=self._counting.new_slots(name),
            )
            pool = Pool(
                name,
                (),
                policy=POLICIES[settings.policy_here](settings),
                admission=admission,
                hedge=settings.hedge,
                load=self._counting.pool_load(name),
            )
        else:
            before = self._settings[pool]
            pool.closing = False
            pool.admission.set_limits(limits.max_in_flight, limits.max_queue, limits.max_tokens_in_flight)
            if any(getattr(before, option) != getattr(settings, option) for option in POLICY_OPTIONS):
                pool.set_policy(POLICIES[settings.policy_here](settings))
            pool.set_hedging(hedge=settings.hedge)
        knew = pool.discovered is not None
        pool.discovered = _discovered(pool.discovered, settings)
        pool.set_waits(limits.hold, limits.queue_timeout)
        if not knew or pool.discovered is None:
            pool.set_on_demand(on_demand=settings.engine != "remote" and settings.from_zero)
        pool.ejections.configure(settings.health_interval, settings.outlier_factor)
        pool.waits.set_timeouts(Timeouts.of(settings.timeouts, config.gateway.timeouts))
        self._settings[pool] = settings
        return pool

    def _set_connect_timeout(self, config: Config) -> None:
        timeout = config.gateway.timeouts.connect
        if self._connections is None:
            self._connections = ConnectionPools(connect_timeout=timeout, fast_paths=config.gateway.fast_paths)
        self._connections.set_connect_timeout(timeout)

    def _set_addresses(self, pool: Pool, settings: RemoteModel, spare: Collection[str] | None = None) -> None:
        """Have one replica for each address; those that are there already stay.

        Those that leave serve until another one is ready, unless they are not among the ``spare`` ones. A replica that
        was drained by hand comes back only after its address was gone.
        """
        found = () if pool.discovered is None else pool.discovered.urls
        addresses = map(Address.parse, dict.fromkeys((*settings.urls, *found)))
        wanted = {(at.url, header_lines(at, settings.api_key)): at for at in addresses}
        before, self._wanted[pool] = self._wanted.get(pool, ()), wanted.keys()
        here = {_identity(each): each for each in pool.replicas if each.state is not ReplicaState.DRAINING}
        pool.keep(here[key] for key in wanted if key in here)
        come = [at for key, at in wanted.items() if key not in here and key not in before]
        gone = [each for key, each in here.items() if key not in wanted]
        if come or gone:
            taken = {replica.name for replica in pool.replicas}
            names = (name for number in count() if (name := f"{pool.name}-{number}") not in taken)
            replicas = self._replicas(list(zip(names, come, strict=False)), settings)
            pool.replace(replicas, [each for each in gone if not each.leaving])
        if spare is not None:
            pool.drain(*(each for each in gone if each.address.url not in spare))
        _set_weights(pool, settings)

    def _replicas(self, named: Sequence[tuple[str, Address]], settings: ModelConfig | None) -> list[Replica]:
        """Make replicas of these names and addresses. One that another pool has and knows to be ready is so here."""
        assert self._connections is not None
        credentials = _credentials(settings)
        ready = {_identity(each): each for pool in self._settings for each in pool.ready}
        counting = self._counting
        made = []
        for name, address in named:
            same = ready.get((address.url, header_lines(address, credentials)))
            replica = Replica(
                name,
                self._connections.of(address),
                credentials=credentials,
                load=counting.replica_load(name),
                trial=counting.replica_trial(name),
                ready=same is not None,
            )
            if same is not None:
                replica.adapters = same.adapters
            made.append(replica)
        return made

    def _registry(
        self, config: Config, groups: Mapping[str, Sequence[str]], pools: dict[str, Pool], *, follows: bool = False
    ) -> Registry:
        """Finish a registry; pools that were there and are not wanted any more close."""
        wanted = set(pools.values())
        closing = [pool for pool in self._settings if pool not in wanted and pool.replicas]
        for pool in closing:
            pool.closing = True
        self._settings = {pool: self._settings[pool] for pool in (*pools.values(), *closing)}
        self._pools = pools
        self._wanted = {pool: self._wanted[pool] for pool in pools.values() if pool in self._wanted}
        models = {
            name: self._model(name, config.models[name], pools[first])
            for first, sharing in groups.items()
            for name in sharing
        }
        self._models = models
        # In the order of the file, which is that of ``/v1/models``.
        listed = [model for name, settings in config.models.items() for model in _with_adapters(models[name], settings)]
        return Registry(listed, () if follows else closing)

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
            canary=settings.canary,
            fallback=settings.fallback,
            recovery=settings.engine != "onnx" and settings.recovery,
            explains=settings.engine != "vllm",
            slo=settings.slo.objectives,
        )
        before = self._models.get(name)
        if before is not None and (before.pool, before.upstream_name) == (pool, model.upstream_name):
            model.max_model_len = before.max_model_len
        return model


def _with_adapters(base: Model, settings: ModelConfig) -> Iterator[Model]:
    """Give a model, and its LoRA adapters, which answer as it does but for their weights."""
    yield base
    for name, folder in adapters_of(settings).items():
        yield Model(
            name,
            base.pool,
            tasks=base.tasks,
            required=False,
            send_priority=base.send_priority,
            cache_salt=base.cache_salt,
            guard=base.guard,
            fallback=base.fallback,
            recovery=base.recovery,
            explains=base.explains,
            parent=base,
            root=folder,
        )


def _set_weights(pool: Pool, settings: ModelConfig) -> None:
    """Take over the weights of addresses, also for replicas that stay."""
    if settings.engine == "remote":
        for replica in pool.replicas:
            replica.set_weight(settings.weights.get(replica.address.url, 1.0))


def pools_of(config: Config) -> dict[str, list[str]]:
    """Group the models that share a pool, by the name of the pool, which is that of its first model.

    Remote models share one when they have the same addresses and credentials, and the same options of routing and
    admission (``POOL_OPTIONS``). So two models with different limits at one address each have their own.
    """
    groups: dict[object, list[str]] = {}
    for name, model in config.models.items():
        groups.setdefault(_sharing_key(name, model), []).append(name)
    return {names[0]: names for names in groups.values()}


def _identity(replica: Replica) -> _Identity:
    return replica.address.url, replica.headers


def _discovered(before: Discovered | None, settings: ModelConfig) -> Discovered | None:
    """Know what the source of a pool has told; of another source, what the one before it told until it answers."""
    if settings.engine != "remote" or settings.discover is None:
        return None
    source = settings.discover.source
    if before is None:
        return Discovered(source, succeeded_at=perf_counter())
    if before.source != source:
        before.source, before.trouble, before.succeeded_at = source, "", perf_counter()
    return before


def _credentials(settings: ModelConfig | None) -> str | None:
    """Give the key that the replicas of a model want; those of an engine that is started here want none."""
    return settings.api_key if settings is not None and settings.engine == "remote" else None


def _sharing_key(name: str, settings: ModelConfig) -> object:
    """Give what models have in common that share a pool."""
    if settings.engine != "remote":
        return name
    options = (getattr(settings, option) for option in POOL_OPTIONS)
    return tuple(frozenset(value.items()) if isinstance(value, dict) else value for value in options)
