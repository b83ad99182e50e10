"""Builds the object graph from a configuration; the only file that knows all others."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from engines.errors import EngineError
from engines.files.adapters import check_fit, read_adapter
from engines.processes.gpus import Gpus, available
from engines.ray.head import RayCluster
from engines.ray.supervisor import RaySupervisor
from engines.supervisor import ReplicaStatus, State, Supervisor
from engines.tuning.records import TRAIN
from gateway.adapter_changes import AdapterChanges, check_new
from gateway.config.discovery import DiscoverTable
from gateway.config.schema import Config
from gateway.console import Row, StartupLog, render
from gateway.control.access import new_token, token_of
from gateway.control.commands import Commands
from gateway.control.plane import ControlPlane
from gateway.control.view import GatewayView, PlaneView
from gateway.core import wall_clock
from gateway.core.errors import BadRequest, GatewayError, ModelNotFound
from gateway.core.keys import Key
from gateway.core.limits import UsageStore, group_owner
from gateway.core.ticker import Ticker
from gateway.data_plane import DataPlane, StartError, split, url_of
from gateway.discovery.discovery import Discoveries
from gateway.drain import Drainable, drain
from gateway.engine_specs import cache_of, cluster_of, rules_of, specs_of
from gateway.local_place import LocalPlace
from gateway.managed_engines import ManagedEngines
from gateway.observe.exposition import Exposition
from gateway.pools.adapters import AdapterRefused, Adapters, AdapterStatus
from gateway.pools.build import RegistryBuilder
from gateway.pools.health import HealthChecks
from gateway.pools.load_signals import LoadSignals
from gateway.pools.model import Model
from gateway.pools.pool import Pool
from gateway.pools.registry import Registry
from gateway.pools.replica import Replica
from gateway.processes.parent import Parent
from gateway.reload import ConfigSource, Reloader, ReloadOutcome
from gateway.scaling.fixed import FixedNumbers
from gateway.scaling.scaler import ScaledModel, Scaler
from gateway.shared_limits.sharing import NoClient, Sharing
from gateway.tuning.publisher import Refused, Serving
from gateway.tuning_service import TuningService

_PROBE_SECONDS = 5.0
"""Longest wait for the response to one probe."""

_REMINDER_SECONDS = 15.0
"""How often the start-up display says who is still awaited."""


class Plane(Drainable, PlaneView, Protocol):
    """What takes the requests: a ``DataPlane`` in this process, or a ``Parent`` of several."""

    @property
    def exposition(self) -> Exposition:
        """What Prometheus reads."""

    @property
    def usage(self) -> UsageStore:
        """What keys and groups have used."""

    @property
    def address(self) -> str:
        """Where clients ask."""

    async def ask(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Ask a path of the gateway itself; give status and body of the response. Raises ``ConnectionError``."""

    def renew_certificate(self, config: Config) -> None:
        """Use the certificate that its files hold now, if there is one. Raises ``StartError``, and changes nothing."""

    def apply(self, config: Config, registry: Registry) -> None:
        """Go by another configuration from now on, but for what is read at the start only."""

    def show_load(self, replica: Replica) -> None:
        """Take over what the engine of a replica says of its load."""

    async def start(self) -> None:
        """Listen. Raises ``StartError``."""

    async def stop(self) -> None:
        """Close everything; harmless before the start."""


class Gateway:
    """One running gateway: engines, data plane and control plane, and the order in which they start and stop.

    ``train`` is the command that runs a fine-tuning job. Raises ``StartError``, ``EngineError`` or ``OSError`` when it
    cannot be built.
    """

    def __init__(
        self,
        config: Config,
        folder: Path,
        start_up: StartupLog,
        source: ConfigSource | None = None,
        train: Sequence[str] = TRAIN,
    ) -> None:
        self._file_config = config
        self._tuning = TuningService(config, start_up.say, train)
        config = self._config = self._tuning.published.applied_to(config)
        """The configuration in force, and what its file says, which commands may have changed since."""
        self._start_up = start_up
        try:
            self._token = token_of(os.environ)
        except ValueError as error:
            raise StartError(str(error)) from None
        self._made_token = new_token()
        """The token of the control port where the environment has none."""
        self._gpus = Gpus(available())
        specs = specs_of(config, len(self._gpus))
        version, commit = importlib.metadata.version("headgate"), os.environ.get("HEADGATE_COMMIT", "")
        # What may fail comes before what would have to be closed again.
        self._plane: Plane
        if config.gateway.processes == 1:
            self._builder = RegistryBuilder()
            self._plane = DataPlane(config, self._builder.build(config), version, commit)
        else:
            self._plane = parent = Parent(config, version, commit, start_up.say)
            self._builder = parent.builder
        self._adapters = Adapters(self._registry, self._check_adapter, start_up.say)
        self._adapter_changes = AdapterChanges()
        self._adapter_lock = asyncio.Lock()
        cluster = cluster_of(config)
        self._plane.exposition.ray_up = None if cluster is None else True
        self._here: LocalPlace
        self._engines = ManagedEngines(
            partial(self._run_here, folder),
            self._builder,
            self._engine_changed,
            ray=None if cluster is None else partial(self._run_on_ray, cluster),
            holds_back=self._adapters.wants,
        )
        self._engines.apply(specs, self._registry.pools_by_model)
        self._scaler = Scaler(self._engines, self._scaled)
        self._fixed_numbers = FixedNumbers(self._scaler)
        self._fixed_numbers.follow(rules_of(config), self._registry.pools_by_model)
        self._scaling_ticker = Ticker(self._scaler.tick, lambda _: None)
        self._plane.exposition.scaled = lambda: list(self._scaler.models.values())
        self._health_checks = HealthChecks(
            self._registry,
            _intervals(config, self._registry),
            timeout=_PROBE_SECONDS,
            supervised=self._engines.names,
            prepare=self._prepare,
        )
        self._discoveries = Discoveries(self._builder.set_found, start_up.say)
        self._sharing = self._share_limits(config)
        self._load_signals = LoadSignals(self._registry, self._plane.show_load)
        self._plane.exposition.tuning_jobs = self._tuning.jobs
        self._tuning.serve_with(Serving(self._serve_published, self._is_ready, self._load_tuned, self._plane.ask))
        self._reloader = None if source is None else Reloader(self._file_config, source, self._reload, self._reloaded)
        self._watching: list[asyncio.Task[None]] = []
        host, port = split(config.gateway.control)
        commands = Commands(
            asyncio.get_running_loop(),
            reload=self.reload,
            drain_replica=self.drain_replica,
            scale_model=self.scale_model,
            load_adapter=self.load_adapter,
            unload_adapter=self.unload_adapter,
            reset_key=self.reset_key,
            reset_group=self.reset_group,
        )
        view = GatewayView(self._plane, lambda: self.local_models, self._adapters.statuses)
        token = self._token or self._made_token
        self._control = ControlPlane(host, port, view, self._plane.exposition, commands, token)
        self._settled = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Gateway {self._plane!r}>"

    @property
    def _registry(self) -> Registry:
        """The models in force."""
        return self._plane.registry

    # what the control plane sees

    @property
    def draining(self) -> bool:
        """Whether the gateway is about to stop."""
        return self._plane.draining

    @property
    def pools(self) -> Sequence[Pool]:
        """All pools."""
        return self._registry.pools

    @property
    def models(self) -> Sequence[Model]:
        """All models."""
        return self._registry.models

    @property
    def keys(self) -> Sequence[Key]:
        """All keys, with what they have used."""
        return list(self._plane.keyring)

    @property
    def local_models(self) -> Mapping[str, ScaledModel | None]:
        """The models whose engines run here, each with how it is scaled, or ``None``."""
        scaled = self._scaler.models
        return {name: scaled.get(name) for name, each in self._config.models.items() if each.engine != "remote"}

    # commands, which the control plane and signals give

    def reload(self) -> ReloadOutcome:
        """Take over what the configuration's files say now, or tell why not. Called on the main loop."""
        if self._reloader is None:
            return ReloadOutcome(("the configuration did not come from a file",))
        return self._reloader.reload()

    def drain_replica(self, name: str) -> bool:
        """Send a replica nothing new, and let it go when it has nothing left to do; return whether there is such a one.

        An engine that runs here is stopped then, and another takes its place. Called on the main loop.
        """
        for pool in self._registry.pools:
            for replica in pool.replicas:
                if replica.name == name:
                    pool.drain(replica)
                    return True
        return False

    def reset_key(self, name: str) -> bool:
        """Forget what a key has used of its own limits; return whether there is such a one. Called on the main loop."""
        key = next((key for key in self.keys if key.id == name), None)
        if key is not None and key.limits is not None:
            key.limits.clear(key.owner)
            self._reset_elsewhere(key.owner)
        return key is not None

    def reset_group(self, name: str) -> bool:
        """Forget what the keys of a group have used of its limits, and return whether there is such a one.

        What each key has used of its own limits stays. Called on the main loop.
        """
        if name not in self._config.gateway.groups:
            return False
        owner = group_owner(name)
        limits = (key.limits for key in self.keys if key.limits is not None)
        # All keys of the group have its one quota in common.
        shared = next((each for each in limits if any(quota.owner == owner for quota in each.quotas)), None)
        if shared is not None:
            shared.clear(owner)
            self._reset_elsewhere(owner)
        return True

    def scale_model(self, name: str, replicas: int | None) -> None:
        """Fix the number of a model's replicas until the next reload; ``None``: let the configuration have its way.

        Raises a ``GatewayError``, and changes nothing, where it cannot have so many. Called on the main loop.
        """
        self._fixed_numbers.scale(self._config, name, replicas)

    async def load_adapter(self, name: str, base: str, folder: str) -> None:
        """Load a LoRA adapter into all ready replicas of a model, and let clients ask for it by its name.

        Raises a ``GatewayError``, and changes nothing, where it does not fit or no replica takes it. Where no replica
        is ready, it is loaded as soon as one is. Called on the main loop.
        """
        async with self._adapter_lock:
            check_new(self._config, name, base)
            parent = self._registry.find(base)
            try:
                await self._adapters.load(Model(name, parent.pool, tasks=parent.tasks, parent=parent, root=folder))
            except AdapterRefused as error:
                raise BadRequest(str(error), param="source", code="adapter_refused") from None
            self._adapter_changes.add(name, base, folder)
            self._apply(self._in_force())

    async def unload_adapter(self, name: str) -> None:
        """Let clients no longer ask for an adapter, and unload it from all replicas. Called on the main loop.

        Raises ``ModelNotFound`` if there is no such adapter. Requests that have begun go on.
        """
        async with self._adapter_lock:
            if not any(model.name == name for model in self.adapters):
                raise ModelNotFound(f"There is no adapter {name[:200]!r}.", param="name")
            self._adapter_changes.remove(name)
            self._apply(self._in_force())
            await self._adapters.settled()

    @property
    def adapters(self) -> Sequence[Model]:
        """All LoRA adapters."""
        return self._registry.adapters

    def adapter_statuses(self, adapter: Model) -> Sequence[AdapterStatus]:
        """Tell how an adapter stands at each replica of its base."""
        return self._adapters.statuses(adapter)

    @property
    def address(self) -> str:
        """Where clients ask, once it has started; the real port, where 0 was asked for."""
        return self._plane.address

    @property
    def control_address(self) -> str:
        """Where probes and metrics are, once it has started."""
        return url_of(split(self._config.gateway.control)[0], self._control.port)

    # start and stop

    async def start(self) -> None:
        """Listen on both ports, then let the engines start. Raises ``StartError``."""
        where = self._config.gateway.control
        try:
            self._control.start()
        except OSError as error:
            await self._plane.stop()
            raise StartError(f"Cannot listen on {where} (gateway.control): {error.strerror}.") from None
        if self._sharing is not None:
            await self._sharing.start()
        try:
            await self._plane.start()
        except StartError:
            self._control.stop()
            await self._stop_plane()
            raise
        self._control.announce_api(self._plane.address)
        self._health_checks.start()
        self._discoveries.follow(_discover_tables(self._config, self._registry))
        self._engines.start()
        self._scaling_ticker.start()
        watches = [wall_clock.watch(self._start_up.say)]
        self._adapters.start()
        self._tuning.start()
        self._load_signals.start()
        if self._reloader is not None:
            watches.append(self._reloader.watch())
        self._watching = [asyncio.get_running_loop().create_task(each) for each in watches]

    async def settle(self) -> None:
        """Wait until every replica is ready or has failed once, saying now and then who of ours is not."""
        await self._discoveries.first_answers()
        await self._health_checks.first_probes()
        while self._engines.awaited:
            self._settled.clear()
            try:
                async with asyncio.timeout(_REMINDER_SECONDS):
                    await self._settled.wait()
            except TimeoutError:
                self._start_up.waiting(self._engines.awaited)

    async def idle(self) -> None:
        """Wait until no request is under way."""
        await self._plane.idle()

    async def stop(self) -> None:
        """Drain, then stop the engines and everything else."""
        settings = self._config.gateway
        self._scaling_ticker.stop()
        for watch in self._watching:
            watch.cancel()
        await drain(self._plane, delay=settings.drain_delay, within=settings.drain_timeout)
        await self._discoveries.stop()
        await self._health_checks.stop()
        await self._tuning.stop()
        await self._adapters.stop()
        await self._load_signals.stop()
        await self._engines.stop()
        self._control.stop()
        await self._stop_plane()

    def panel(self) -> str:
        """Write what there is to see when the gateway serves."""
        rows = [self._row(model) for model in self._registry.models]
        keyed = bool(self._config.gateway.keys)
        page = self.control_address + ("/" if self._token else f"/#token={self._made_token}")
        return render(self.address, self.control_address, rows, self._start_up.seconds, page=page, keyed=keyed)

    # inside

    def _run_here(self, folder: Path, on_change: Callable[[ReplicaStatus], None]) -> LocalPlace:
        """Let engines run on this machine; ``folder`` takes their sockets and logs."""
        supervisor = Supervisor(folder=folder, cache=cache_of(self._config), on_change=on_change)
        self._here = LocalPlace(supervisor, self._gpus, self._config.gateway.cpu_engines)
        return self._here

    def _run_on_ray(self, cluster: RayCluster, on_change: Callable[[ReplicaStatus], None]) -> RaySupervisor:
        """Let engines run on a Ray cluster."""
        return RaySupervisor(cluster, on_change, self._head_heard, self._start_up.say)

    def _head_heard(self, trouble: str) -> None:
        """Show whether the head of the Ray cluster answers."""
        self._plane.exposition.ray_up = not trouble
        if trouble:
            self._start_up.say(f"the Ray cluster cannot be asked ({trouble}); replicas that run go on serving")
        else:
            self._start_up.say("the Ray cluster answers again")

    def _share_limits(self, config: Config) -> Sharing | None:
        """Share limits with other nodes, if there is a Redis for that. Raises ``StartError``."""
        settings, exposition = config.gateway.redis, self._plane.exposition
        if settings is None:
            return None

        def changed(shared: bool) -> None:
            exposition.limits_shared = shared

        changed(False)
        try:
            sharing = Sharing(settings, self._plane.usage.sharing, self._start_up.say, changed)
        except NoClient as error:
            raise StartError(str(error)) from None
        sharing.follow(self.keys)
        return sharing

    def _reset_elsewhere(self, owner: str) -> None:
        """Let other nodes forget what an owner of limits has used."""
        if self._sharing is not None:
            self._sharing.reset(owner)

    async def _stop_plane(self) -> None:
        """End what takes requests, then what shares what they have used."""
        if self._sharing is not None:
            await self._sharing.stop()
        await self._plane.stop()

    def _row(self, model: Model) -> Row:
        pool = model.pool
        if model.parent is not None:
            loaded = len(pool.able(model.upstream_name))
            tasks, state = tuple(model.tasks), "ready" if loaded else "not loaded"
            return Row(model.name, f"LoRA of {model.parent.name}", tasks, loaded, len(pool.replicas), state)
        settings = self._config.models[model.name]
        if pool.on_demand and not pool.replicas:
            return Row(model.name, settings.engine, settings.tasks_here, 0, 0, "asleep until it is asked")
        troubled = next((replica for replica in pool.replicas if not replica.ready), None)
        state = "ready" if troubled is None else str(troubled.state)
        reason = "" if troubled is None else troubled.reason
        if pool.discovered is not None and not pool.replicas:
            trouble = pool.discovered.trouble
            state, reason = "nothing found", f"{pool.discovered.source}: {trouble}" if trouble else ""
        ready, replicas = len(pool.ready), len(pool.replicas)
        return Row(model.name, settings.engine, settings.tasks_here, ready, replicas, state, reason)

    def _reload(self, config: Config) -> None:
        """Take over what the file says now. Raises ``StartError`` before anything has changed."""
        changes = self._adapter_changes.reloaded()
        self._apply(changes.applied_to(self._tuning.published.applied_to(config)))
        self._adapter_changes, self._file_config = changes, config
        self._fixed_numbers.forget()

    def _in_force(self) -> Config:
        """Give what the file says, with what has been published and loaded since."""
        return self._adapter_changes.applied_to(self._tuning.published.applied_to(self._file_config))

    def _serve_published(self) -> None:
        """Take over the models that are published now. Raises ``Refused``, and changes nothing."""
        try:
            self._apply(self._in_force())
        except StartError as error:
            raise Refused(str(error)) from None

    def _is_ready(self, name: str) -> bool:
        return name in self._registry.names and self._registry.find(name).ready

    async def _load_tuned(self, name: str, base: str, folder: str) -> None:
        """Load an adapter that a job has made, which clients may not ask for yet. Raises ``Refused``."""
        async with self._adapter_lock:
            try:
                check_new(self._config, name, base)
                parent = self._registry.find(base)
                await self._adapters.load(Model(name, parent.pool, tasks=parent.tasks, parent=parent, root=folder))
            except (AdapterRefused, GatewayError) as error:
                raise Refused(str(error)) from None

    async def _prepare(self, replica: Replica) -> None:
        """Load a replica's adapters before it gets requests."""
        await self._adapters.prepare(replica)
        self._settled.set()
        self._tuning.wake()

    async def _check_adapter(self, adapter: Model) -> None:
        """Compare an adapter's files with those of its base, as far as both are here. Raises ``AdapterRefused``."""
        assert adapter.parent is not None
        base = adapter.parent.name
        settings = self._config.models[base]
        is_remote = settings.engine == "remote" or settings.placement != "local"
        try:
            await asyncio.to_thread(_compare, Path(adapter.root), self._engines.folder_of(base), is_remote)
        except (EngineError, OSError) as error:
            raise AdapterRefused(str(error)) from None

    def _apply(self, config: Config) -> None:
        """Take over a configuration that was checked. Raises ``StartError`` before anything has changed."""
        try:
            specs = specs_of(config, len(self._gpus))
        except EngineError as error:
            raise StartError(str(error)) from None
        self._plane.renew_certificate(config)
        registry = self._builder.build(config)
        self._plane.apply(config, registry)
        if self._sharing is not None:
            self._sharing.follow(self.keys)
        self._health_checks.follow(registry, _intervals(config, registry))
        self._config = config
        self._discoveries.follow(_discover_tables(config, registry))
        self._here.cpu_engines = config.gateway.cpu_engines
        self._engines.apply(specs, self._registry.pools_by_model)
        self._fixed_numbers.follow(rules_of(config), self._registry.pools_by_model)
        self._adapters.follow(registry)
        self._load_signals.follow(registry)
        self._tuning.follow(config)

    def _reloaded(self, outcome: ReloadOutcome) -> None:
        """Say how a reload went."""
        self._plane.exposition.last_reload_successful = outcome.successful
        self._control.note_reload(outcome.problems)
        if outcome.successful:
            self._start_up.say("the configuration was reloaded")
        for problem in outcome.problems:
            self._start_up.say(f"not reloaded: {problem}")

    def _scaled(self, model: str, what: str, reason: str) -> None:
        """Say that a model is to have another number of replicas, or what one waits for."""
        self._start_up.say(f"{model}: {what} ({reason})")
        self._control.note_scaling(model, what, reason)

    def _engine_changed(self, status: ReplicaStatus) -> None:
        """Show what the supervisor says of an engine, and probe it while it is up."""
        self._health_checks.set_up(status.replica, up=status.state is State.READY)
        what = status.state.value
        self._start_up.step(status.replica, f"{what}: {status.reason}" if status.reason else what)
        self._settled.set()
        self._tuning.note(status)


def _compare(adapter: Path, base: Path | None, is_remote: bool) -> None:
    """Check an adapter, and whether it fits its base. Raises ``EngineError``.

    Of a remote model it may be a folder of another machine.
    """
    if is_remote and not adapter.is_dir():
        return
    files = read_adapter(adapter)
    if base is not None:
        check_fit(files, base)


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
