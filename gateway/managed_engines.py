"""Keeps as many engines running here as each model wants, and replaces those that a new configuration changes.

A change is a rolling update: one new engine is started beside the old ones, and when it is ready, one old engine drains
and is stopped; then the next. Where no GPU is free for a new engine, an old one drains first. An engine that never
becomes ready holds the update up, and the old ones go on serving.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Protocol

from engines.launchers import LAUNCHERS
from engines.processes.gpus import Gpus
from engines.spec import EngineSpec, Launcher
from engines.supervisor import ReplicaStatus, State, Supervisor
from gateway.pools.pool import Pool
from gateway.pools.replica import Replica, ReplicaState

_ENGINE_GRACE = 10.0
"""Seconds that an engine gets to end by itself."""


class EngineRunner(Protocol):
    """What runs engines, each in its own way: a ``Supervisor`` as child processes."""

    @property
    def statuses(self) -> Sequence[ReplicaStatus]:
        """What every replica is doing now."""

    def folder_of(self, model: str) -> Path | None:
        """Give the folder with a model's files; ``None`` if they are not here."""

    def add(self, spec: EngineSpec, devices: Sequence[str] = ()) -> ReplicaStatus:
        """Let there be one more replica, on these GPUs."""

    async def remove(self, name: str, grace: float) -> None:
        """Stop a replica, giving it ``grace`` seconds to end by itself, and forget it then."""

    def start(self) -> None:
        """Start every replica, and from now on each that is added; returns at once."""

    async def stop(self, grace: float) -> None:
        """Stop all replicas."""


@dataclass(slots=True, eq=False)
class LocalEngine:
    """One engine that runs here: what it was started as, on which GPUs, and the replica that it is in a pool."""

    spec: EngineSpec
    devices: tuple[str, ...]
    pool: Pool
    replica: Replica
    since: float
    """When it was wanted, as a ``monotonic`` reading."""
    was_ready: bool = False

    @property
    def draining(self) -> bool:
        """Whether it is on its way out."""
        return self.replica.leaving or self.replica.state in (ReplicaState.DRAINING, ReplicaState.STOPPED)


class LocalEngines:
    """The engines that run here, each a replica of its model's pool.

    ``folder`` takes sockets and logs, ``cache`` the model files. ``new_replica`` makes a replica of a name and an
    address. ``on_change`` is told what the supervisor says of one, after its replica was. An engine whose replica has
    drained is stopped, for whatever reason it was drained. A replica that is to be ``held back`` does not become ready
    with its engine: who prepares it says when. ``supervise`` makes what runs the engines.
    """

    def __init__(
        self,
        folder: Path,
        cache: Path,
        gpus: Gpus,
        new_replica: Callable[[str, str], Replica],
        on_change: Callable[[ReplicaStatus], None],
        *,
        launchers: Mapping[str, Launcher] = LAUNCHERS,
        holds_back: Callable[[Replica], bool] = lambda _: False,
        supervise: Callable[..., EngineRunner] = Supervisor,
    ) -> None:
        self._supervisor = supervise(folder=folder, cache=cache, on_change=self._changed, launchers=launchers)
        self._gpus = gpus
        self._new_replica = new_replica
        self._on_change = on_change
        self._holds_back = holds_back
        self._engines: dict[str, LocalEngine] = {}
        self._wanted: dict[str, tuple[EngineSpec, Pool]] = {}
        self._cpu_engines: int | None = None
        self._numbers: dict[str, int] = {}
        """How many replicas a model is to have, where that is not for its specification to say."""
        self._start_seconds: dict[str, float] = {}
        self._due: set[str] = set()
        """The models that will be looked at in the loop's next turn."""
        self._stopping: set[asyncio.Task[None]] = set()
        self._ended = False

    def __repr__(self) -> str:
        return f"<LocalEngines {list(self._engines)}>"

    @property
    def names(self) -> Collection[str]:
        """The names of the replicas, as they are at any time."""
        return self._engines.keys()

    @property
    def awaited(self) -> list[str]:
        """The replicas whose engines are on their way to be ready."""
        statuses = self._supervisor.statuses
        return [
            each.replica
            for each in statuses
            if each.state in (State.FETCHING, State.STARTING)
            or (each.state is State.READY and self._engines[each.replica].replica.state is ReplicaState.STARTING)
        ]

    def folder_of(self, model: str) -> Path | None:
        """Give the folder with a model's files, as its engines read it; ``None`` if it is not here, or not yet."""
        return self._supervisor.folder_of(model)

    def apply(self, specs: Iterable[EngineSpec], pools: Mapping[str, Pool], *, cpu_engines: int | None = None) -> None:
        """Bring about what these models want from now on. ``pools`` are those of the models, by their names.

        At most ``cpu_engines`` without a GPU run at the same time, those on their way out included.
        """
        self._cpu_engines = cpu_engines
        self._wanted = {spec.model: (spec, pools[spec.model]) for spec in specs}
        # A new model gets its GPUs before an update that could do without one more.
        running = {engine.spec.model for engine in self._engines.values()}
        for model in sorted(self._wanted, key=running.__contains__):
            self._advance(model)

    def scale(self, numbers: Mapping[str, int]) -> None:
        """Have so many replicas of these models from now on, and of all others as many as their specifications say."""
        changed = {model for model in self._wanted if numbers.get(model) != self._numbers.get(model)}
        self._numbers = dict(numbers)
        self._look_again(changed)

    def number(self, model: str) -> int:
        """Tell how many replicas of a model there are, without those on their way out."""
        return sum(each.spec.model == model and not each.draining for each in self._engines.values())

    @property
    def leaving(self) -> int:
        """How many engines are on their way out, whose GPUs will be free."""
        return sum(each.draining for each in self._engines.values())

    def waits_for(self, model: str) -> str:
        """Say what a replica waits for that a model is to have; nothing where none is missing."""
        spec, _ = self._wanted[model]
        if self.number(model) >= self._numbers.get(model, spec.replicas):
            return ""
        if spec.gpus > self._gpus.free:
            there_is = f"{spec.gpus} for each replica, and {self._gpus.free} of {len(self._gpus)} GPUs free"
        elif not spec.gpus and self._cpu_is_full:
            there_is = f"cpu_engines = {self._cpu_engines}, and so many run"
        else:
            return ""
        return f"{there_is}; {self.leaving} on their way out" if self.leaving else there_is

    def start_seconds(self, model: str) -> float | None:
        """Tell how long the last start of a replica took until it was ready; ``None`` before the first."""
        return self._start_seconds.get(model)

    def start(self) -> None:
        """Start all engines; returns at once."""
        self._supervisor.start()

    async def stop(self) -> None:
        """Stop all engines, side by side."""
        self._ended = True
        await asyncio.gather(self._supervisor.stop(_ENGINE_GRACE), *self._stopping)

    # a step at a time, whenever something has changed

    def _advance(self, model: str) -> None:
        """Take the next step towards what a model wants. Each step changes a replica, which leads to the next one."""
        spec, pool = self._wanted[model]
        here = [each for each in self._engines.values() if each.spec.model == model and not each.draining]
        new = [each for each in here if each.spec.serves(spec)]
        old = [each for each in here if not each.spec.serves(spec)]
        number = self._numbers.get(model, spec.replicas)
        useless = [each for each in old if not each.replica.ready] + _surplus(new, number)
        if useless:
            for each in useless:
                pool.drain(each.replica)
        elif not old:
            for _ in range(number - len(new)):
                self._start_one(spec, pool)
        elif all(each.replica.ready for each in new):
            enough = len(here) > number
            if enough or not (self._start_one(spec, pool) or self._any_draining(model)):
                pool.drain(old[0].replica)

    def _start_one(self, spec: EngineSpec, pool: Pool) -> bool:
        """Start an engine, and take it into its pool; return whether there was room for it."""
        devices = self._gpus.take(spec.gpus) if spec.gpus or not self._cpu_is_full else None
        if devices is None:
            return False
        status = self._supervisor.add(spec, devices)
        replica = self._new_replica(status.replica, status.address)
        replica.set_state(ReplicaState(status.state))
        self._engines[status.replica] = LocalEngine(spec, devices, pool, replica, monotonic())
        replica.observe(self._replica_changed)
        pool.add(replica)
        return True

    @property
    def _cpu_is_full(self) -> bool:
        return self._cpu_engines is not None and self._cpu_engines <= sum(
            not each.spec.gpus for each in self._engines.values()
        )

    def _any_draining(self, model: str) -> bool:
        return any(each.draining for each in self._engines.values() if each.spec.model == model)

    # what happens

    def _changed(self, status: ReplicaStatus) -> None:
        """Take over what the supervisor says of an engine."""
        replica = self._engines[status.replica].replica
        if status.state is not State.READY or not self._holds_back(replica):
            replica.set_state(ReplicaState(status.state), status.reason)
        self._on_change(status)

    def _replica_changed(self, replica: Replica) -> None:
        """Stop the engine of a replica that has drained, and go on with whatever waits for this change."""
        engine = self._engines[replica.name]
        if replica.ready and not engine.was_ready:
            engine.was_ready = True
            self._start_seconds[engine.spec.model] = monotonic() - engine.since
        if replica.state is ReplicaState.STOPPED and not self._ended:
            task = asyncio.get_running_loop().create_task(self._stop(engine))
            self._stopping.add(task)
            task.add_done_callback(self._stopping.discard)
        self._look_again([engine.spec.model])

    async def _stop(self, engine: LocalEngine) -> None:
        name = engine.replica.name
        await self._supervisor.remove(name, _ENGINE_GRACE)
        if self._ended:
            return
        del self._engines[name]
        self._gpus.give_back(engine.devices)
        # What is free now may be what another model waits for.
        self._look_again(self._wanted.keys())

    def _look_again(self, models: Collection[str]) -> None:
        """Take the next steps of these models, but not in the middle of a step."""
        if models and not self._due:
            asyncio.get_running_loop().call_soon(self._advance_due)
        self._due.update(models)

    def _advance_due(self) -> None:
        due, self._due = self._due, set()
        for model in sorted(due & self._wanted.keys()):
            if not self._ended:
                self._advance(model)


def _surplus(engines: list[LocalEngine], wanted: int) -> list[LocalEngine]:
    """Choose the engines that are too many: those that are not ready, then the least busy, of these the youngest."""
    least_useful_last = sorted(engines, key=lambda engine: (not engine.replica.ready, -engine.replica.in_flight))
    return least_useful_last[wanted:]
