"""Builds the object graph from a configuration; the only file that knows all others."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from engines.errors import EngineError
from engines.processes.gpus import Gpus, available
from engines.tuning.records import TRAIN
from gateway.adapters.check import AdapterCheck
from gateway.adapters.commands import AdapterCommands
from gateway.config.schema import Config
from gateway.console.panel import render, rows_of
from gateway.console.startup_log import StartupLog
from gateway.control.access import new_token, token_of
from gateway.control.commands import Commands
from gateway.control.plane import ControlPlane
from gateway.control.view import GatewayView
from gateway.core import wall_clock
from gateway.core.start_error import StartError
from gateway.data_plane import DataPlane, split, url_of
from gateway.drain import drain
from gateway.fleet.engine_places import EnginePlaces
from gateway.fleet.engine_specs import specs_of
from gateway.fleet.fleet import Fleet
from gateway.plane import Plane
from gateway.pools.adapters import Adapters
from gateway.pools.build import RegistryBuilder
from gateway.processes.parent import Parent
from gateway.reload.config_in_force import ConfigInForce
from gateway.reload.reloader import ConfigSource, Reloader, ReloadOutcome
from gateway.scaling.model_scaling import ModelScaling
from gateway.scaling.neighbours import Neighbours
from gateway.shared_limits.key_usage import KeyUsage
from gateway.tuning.publisher import Serving
from gateway.tuning.service import TuningService


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
        say = start_up.say
        self._start_up = start_up
        self._tuning = TuningService(config, say, train)
        self._reloader = None if source is None else Reloader(config, source, self._reload, self._reloaded)
        self._config = ConfigInForce(config, self._tuning.published, self._apply)
        config = self._config.current
        given = _given_token()
        token = given or new_token()
        self._page = "/" if given else f"/#token={token}"
        """Where the page is at the control port, with the token where only the panel can tell it."""
        self._gpus = Gpus(available())
        specs = specs_of(config, len(self._gpus))
        # What may fail comes before what would have to be closed again.
        self.plane, self._builder = _plane_of(config, say)
        exposition = self.plane.exposition
        places = EnginePlaces(config, self._gpus, folder, exposition, say)
        check = AdapterCheck(lambda: self._config.current, lambda model: places.local.folder_of(model))
        adapters = Adapters(self.plane.registry, check.check, say)
        self.fleet = Fleet(
            config,
            specs,
            plane=self.plane,
            builder=self._builder,
            places=places,
            adapters=adapters,
            tuning=self._tuning,
            start_up=start_up,
        )
        self._scaling = ModelScaling(
            config,
            self.plane.registry,
            self.fleet.engines,
            self._scaled,
            neighbours=Neighbours(folder, self._gpus.devices),
            say=say,
        )
        self._usage = KeyUsage(config, self.plane, say)
        exposition.scaled = self._scaling.scaled_models
        exposition.tuning_jobs = self._tuning.jobs
        adapter_commands = AdapterCommands(adapters, self._config, self.plane)
        self._tuning.serve_with(
            Serving(self._config.serve_published, self.fleet.is_ready, adapter_commands.load_tuned, self.plane.ask)
        )
        self.commands = Commands(
            asyncio.get_running_loop(),
            reload=_not_reloadable if self._reloader is None else self._reloader.reload,
            drain_replica=self.fleet.drain_replica,
            scale_model=self._scaling.scale_model,
            load_adapter=adapter_commands.load,
            unload_adapter=adapter_commands.unload,
            reset_key=self._usage.reset_key,
            reset_group=self._usage.reset_group,
        )
        """What operators may have it do; each is called on its loop."""
        self.view = GatewayView(self.plane, self._scaling.local_models, adapters.statuses)
        host, port = split(config.gateway.control)
        self._control = ControlPlane(host, port, self.view, exposition, self.commands, token)
        self._watching: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"<Gateway {self.plane!r}>"

    @property
    def control_address(self) -> str:
        """Where probes and metrics are, once it has started."""
        return url_of(split(self._config.current.gateway.control)[0], self._control.port)

    def panel(self) -> str:
        """Write what there is to see when the gateway serves."""
        config = self._config.current
        rows, keyed = rows_of(config, self.plane.registry), bool(config.gateway.keys)
        control = self.control_address
        return render(self.plane.address, control, rows, self._start_up.seconds, page=control + self._page, keyed=keyed)

    # the orders in which it starts, changes and stops

    async def start(self) -> None:
        """Listen on both ports, then let the engines start. Raises ``StartError``."""
        where = self._config.current.gateway.control
        try:
            self._control.start()
        except OSError as error:
            await self.plane.stop()
            raise StartError(f"Cannot listen on {where} (gateway.control): {error.strerror}.") from None
        await self._usage.start()
        try:
            await self.plane.start()
        except StartError:
            self._control.stop()
            await self._stop_plane()
            raise
        self._control.announce_api(self.plane.address)
        self.fleet.start(self._config.current)
        self._scaling.start()
        self._tuning.start()
        watches = [wall_clock.watch(self._start_up.say)]
        if self._reloader is not None:
            watches.append(self._reloader.watch())
        self._watching = [asyncio.get_running_loop().create_task(each) for each in watches]

    def _apply(self, config: Config) -> None:
        """Take over a configuration that was checked. Raises ``StartError`` before anything has changed."""
        try:
            specs = specs_of(config, len(self._gpus))
        except EngineError as error:
            raise StartError(str(error)) from None
        self.plane.renew_certificate(config)
        registry = self._builder.build(config)
        self.plane.apply(config, registry)
        self._usage.follow(config)
        self.fleet.follow(config, registry, specs)
        self._scaling.follow(config, registry)
        self._tuning.follow(config)

    async def stop(self) -> None:
        """Drain, then stop the engines and everything else."""
        settings = self._config.current.gateway
        self._scaling.stop()
        for watch in self._watching:
            watch.cancel()
        await drain(self.plane, delay=settings.drain_delay, within=settings.drain_timeout)
        await self._tuning.stop()
        await self.fleet.stop()
        self._control.stop()
        await self._stop_plane()

    async def _stop_plane(self) -> None:
        """End what takes requests, after what shares what their keys have used."""
        await self._usage.stop()
        await self.plane.stop()

    # what is told, and to whom

    def _reload(self, file: Config) -> None:
        """Take over what the file says now, also of numbers that were fixed. Raises ``StartError``."""
        if self.plane.draining:
            # What began now would be started only to be ended, or be left where it runs.
            raise StartError("the gateway is shutting down")
        self._config.reload(file)
        self._scaling.forget_fixed()

    def _reloaded(self, outcome: ReloadOutcome) -> None:
        """Say how a reload went."""
        self.plane.exposition.last_reload_successful = outcome.successful
        self._control.note_reload(outcome.problems)
        if outcome.successful:
            self._start_up.say("the configuration was reloaded")
        for problem in outcome.problems:
            self._start_up.say(f"not reloaded: {problem}")

    def _scaled(self, model: str, what: str, reason: str) -> None:
        """Say that a model is to have another number of replicas, or what one waits for."""
        self._start_up.say(f"{model}: {what} ({reason})")
        self._control.note_scaling(model, what, reason)


def _given_token() -> str | None:
    """Give the token of the environment, if it has one. Raises ``StartError``."""
    try:
        return token_of(os.environ)
    except ValueError as error:
        raise StartError(str(error)) from None


def _plane_of(config: Config, say: Callable[[str], None]) -> tuple[Plane, RegistryBuilder]:
    """Build what takes the requests, with what builds its registries. Raises ``StartError``."""
    version, commit = importlib.metadata.version("headgate"), os.environ.get("HEADGATE_COMMIT", "")
    if config.gateway.processes > 1:
        parent = Parent(config, version, commit, say)
        return parent, parent.builder
    builder = RegistryBuilder()
    return DataPlane(config, builder.build(config), version, commit), builder


def _not_reloadable() -> ReloadOutcome:
    return ReloadOutcome(("the configuration did not come from a file",))
