"""All replicas of the gateway: what starts their engines, finds, probes and reads them, and prepares them to serve."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from engines.spec import EngineSpec
from engines.supervisor import ReplicaStatus, State
from gateway.config.discovery import DiscoverTable
from gateway.config.schema import Config
from gateway.console.startup_log import StartupLog
from gateway.discovery.discovery import Discoveries
from gateway.fleet.engine_places import EnginePlaces
from gateway.fleet.managed_engines import ManagedEngines
from gateway.plane import Plane
from gateway.pools.adapters import Adapters
from gateway.pools.build import RegistryBuilder
from gateway.pools.health import HealthChecks
from gateway.pools.load_signals import LoadSignals
from gateway.pools.pool import Pool
from gateway.pools.registry import Registry
from gateway.pools.replica import Replica
from gateway.tuning.service import TuningService

_PROBE_SECONDS = 5.0
"""Longest wait for the response to one probe."""

_REMINDER_SECONDS = 15.0
"""How often the start-up display says who is still awaited."""


class Fleet:
    """The replicas of a plane's models, kept as the configuration wants them.

    ``specs`` are the engines to start, and ``builder`` is what the plane's registry was built by. ``tuning`` is told
    of each change at an engine, and ``start_up`` shows it.
    """

    def __init__(
        self,
        config: Config,
        specs: Iterable[EngineSpec],
        *,
        plane: Plane,
        builder: RegistryBuilder,
        places: EnginePlaces,
        adapters: Adapters,
        tuning: TuningService,
        start_up: StartupLog,
    ) -> None:
        self._plane = plane
        self._places = places
        self._adapters = adapters
        self._tuning = tuning
        self._start_up = start_up
        registry = plane.registry
        self.engines = ManagedEngines(
            places.make_local, builder, self._engine_changed, ray=places.make_ray, holds_back=adapters.wants
        )
        self.engines.apply(specs, registry.pools_by_model)
        self._health_checks = HealthChecks(
            registry,
            _intervals(config, registry),
            timeout=_PROBE_SECONDS,
            supervised=self.engines.names,
            prepare=self._prepare,
        )
        self._discoveries = Discoveries(builder.set_found, start_up.say)
        self._load_signals = LoadSignals(registry, plane.show_load)
        self._settled = asyncio.Event()
        """Set by each change that may be the one that ``settle`` waits for."""

    def __repr__(self) -> str:
        return f"<Fleet {self.engines!r} {self._discoveries!r} {self._health_checks!r}>"

    def follow(self, config: Config, registry: Registry, specs: Iterable[EngineSpec]) -> None:
        """Keep the replicas of a newer registry from now on, as another configuration wants them."""
        self._health_checks.follow(registry, _intervals(config, registry))
        self._discoveries.follow(_discover_tables(config, registry))
        self._places.follow(config)
        self.engines.apply(specs, registry.pools_by_model)
        self._adapters.follow(registry)
        self._load_signals.follow(registry)

    def is_ready(self, model: str) -> bool:
        """Tell whether a model can answer."""
        registry = self._plane.registry
        return model in registry.names and registry.find(model).ready

    def drain_replica(self, name: str) -> bool:
        """Send a replica nothing new, and let it go when it has nothing left to do; return whether there is such a one.

        An engine that runs here is stopped then, and another takes its place.
        """
        for pool in self._plane.registry.pools:
            for replica in pool.replicas:
                if replica.name == name:
                    pool.drain(replica)
                    return True
        return False

    def start(self, config: Config) -> None:
        """Start all engines, and ask replicas and their sources from now on; returns at once."""
        self._health_checks.start()
        self._discoveries.follow(_discover_tables(config, self._plane.registry))
        self.engines.start()
        self._adapters.start()
        self._load_signals.start()

    async def settle(self) -> None:
        """Wait until every replica is ready or has failed once, saying now and then who of ours is not."""
        await self._discoveries.first_answers()
        await self._health_checks.first_probes()
        while self.engines.awaited:
            self._settled.clear()
            try:
                async with asyncio.timeout(_REMINDER_SECONDS):
                    await self._settled.wait()
            except TimeoutError:
                self._start_up.waiting(self.engines.awaited)

    async def stop(self) -> None:
        """Ask no more, and stop all engines."""
        await self._discoveries.stop()
        await self._health_checks.stop()
        await self._adapters.stop()
        await self._load_signals.stop()
        await self.engines.stop()

    def _engine_changed(self, status: ReplicaStatus) -> None:
        """Show what its place says of an engine, and probe it while it is up."""
        self._health_checks.set_up(status.replica, up=status.state is State.READY)
        what = status.state.value
        self._start_up.step(status.replica, f"{what}: {status.reason}" if status.reason else what)
        self._settled.set()
        self._tuning.note(status)

    async def _prepare(self, replica: Replica) -> None:
        """Load a replica's adapters before it gets requests."""
        await self._adapters.prepare(replica)
        self._settled.set()
        self._tuning.wake()


def _intervals(config: Config, registry: Registry) -> dict[str, float]:
    """Give how often the replicas of each pool are probed, in seconds."""
    models = {model.pool.name: model.name for model in reversed(registry.models)}
    return {pool: config.models[model].health_interval for pool, model in models.items()}


def _discover_tables(config: Config, registry: Registry) -> dict[Pool, DiscoverTable]:
    """Give the pools whose replicas are discovered, and where."""
    found = {}
    for model in registry.models:
        # An adapter has the replicas of its base.
        settings = config.models[model.name if model.parent is None else model.parent.name]
        if settings.engine == "remote" and settings.discover is not None:
            found[model.pool] = settings.discover
    return found
