"""What clients feel while replicas of a model come and go without a rest: a stream must never be cut by a scale-down.

The gateway's data plane, its pools and what starts and stops engines are the real ones, over real sockets. The engines
are simulated ones in the same process, which are there within a millisecond, and which reset every connection when they
are stopped: whatever a replica had left to do would be cut. The gateway neither retries nor resumes anything here that
is not counted.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from engines.errors import EngineError
from engines.spec import EngineSpec
from engines.supervisor import ReplicaStatus, State
from gateway.config.schema import Config
from gateway.data_plane import DataPlane
from gateway.drain import drain
from gateway.fleet.engine_specs import specs_of
from gateway.fleet.managed_engines import ManagedEngines
from gateway.pools.build import RegistryBuilder
from gateway.scaling.eviction import Room
from loadtest import arrivals, workload
from loadtest.bench.faults.serving import outcomes
from loadtest.load import Load
from loadtest.simulator import SimulatedEngine
from loadtest.simulator.batch import Timing
from loadtest.workload import Request

_MODEL = "m"

_CONFIG = {
    "gateway": {"listen": "127.0.0.1:0", "control": "127.0.0.1:0", "access_log": "off"},
    "models": {
        _MODEL: {
            "engine": "vllm",
            "source": "a/b",
            "tasks": ["generate"],
            "hold": 60.0,
            "recovery": False,
            "scaling": {"min": 0, "max": 64},
        }
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleSettings:
    """How many replicas come or go, how many there are at most, and under which load, in requests per second."""

    events: int = 10_000
    replicas: int = 8
    leaving: int = 32
    """How many may be finishing what they have before the next number is asked for."""
    rate: float = 100.0
    tokens: int = 20
    pace: float = 0.005
    """Seconds from one token to the next."""
    round_seconds: float = 2.0
    """After so long the load waits for its last responses, and begins anew."""


class SimulatedEngines:
    """What the supervisor is to real engines: each replica is a simulated one, which stops without a farewell."""

    def __init__(self, folder: Path, on_change: Callable[[ReplicaStatus], None], timing: Timing) -> None:
        self._folder = folder
        self._on_change = on_change
        self._timing = timing
        self._engines: dict[str, SimulatedEngine] = {}
        self._statuses: dict[str, ReplicaStatus] = {}
        self._starting: dict[str, asyncio.Task[None]] = {}
        self._numbers = count()
        self.changed = asyncio.Event()
        """Set whenever a replica has come or gone."""
        self.events = 0
        """How many have come or gone."""
        self.cut = 0
        """Requests that an engine had when it was stopped."""

    def __repr__(self) -> str:
        return f"<SimulatedEngines [{len(self._engines)} here; {self.events} events]>"

    @property
    def statuses(self) -> Sequence[ReplicaStatus]:
        """What every replica is doing now."""
        return tuple(self._statuses.values())

    def folder_of(self, model: str) -> Path | None:  # noqa: ARG002 - there are no files
        """Give no folder: a simulated engine has no files."""
        return None

    def lacks(self, spec: EngineSpec) -> str:  # noqa: ARG002 - there is room for any
        """Lack nothing."""
        return ""

    def add(self, spec: EngineSpec) -> ReplicaStatus:
        """Start one more engine, whose address no other has had."""
        number = next(self._numbers)
        name, socket = f"{spec.model}-{number}", self._folder / f"{number}"
        self._engines[name] = SimulatedEngine(spec.model, uds=socket, timing=self._timing)
        status = self._statuses[name] = ReplicaStatus(spec.model, name, State.STARTING, f"unix:{socket}")
        self._starting[name] = asyncio.get_running_loop().create_task(self._start(status))
        return status

    def gpus_of(self, name: str) -> frozenset[str]:  # noqa: ARG002 - none has any
        """Give no GPU."""
        return frozenset()

    def room_beside(self, staying: Collection[str]) -> Room:  # noqa: ARG002 - there is room for any
        """Tell of room for any number."""
        return Room(frozenset(), None)

    async def sleep(self, name: str, level: int) -> None:  # noqa: ARG002 - at none
        """Refuse: here replicas come and go. Raises ``EngineError``."""
        raise EngineError(f"{name} does not sleep.")

    def wake(self, name: str) -> bool:  # noqa: ARG002 - none sleeps
        """Wake none."""
        return False

    async def remove(self, name: str, grace: float) -> None:  # noqa: ARG002 - it has had its time
        """Stop an engine: whatever it has left is cut, and counted."""
        await self._starting.pop(name)
        engine = self._engines.pop(name)
        self.cut += engine.running + engine.waiting
        await engine.close()
        self._report(self._statuses.pop(name), State.STOPPED)

    def start(self) -> None:
        """Do nothing: each is started when it is added."""

    async def stop(self, grace: float) -> None:
        """Stop all engines."""
        await asyncio.gather(*(self.remove(name, grace) for name in list(self._engines)))

    async def _start(self, status: ReplicaStatus) -> None:
        await self._engines[status.replica].start()
        self._statuses[status.replica] = self._report(status, State.READY)

    def _report(self, status: ReplicaStatus, state: State) -> ReplicaStatus:
        latest = ReplicaStatus(status.model, status.replica, state, status.address)
        self.events += 1
        self._on_change(latest)
        self.changed.set()
        return latest


@dataclass(frozen=True, slots=True)
class Fleet:
    """A data plane before engines that are simulated, and what starts and stops them."""

    plane: DataPlane
    managed: ManagedEngines
    engines: SimulatedEngines

    async def scale(self, replicas: int, leaving: int) -> int:
        """Have so many replicas; return how many requests those had that were to go.

        Returns when so many are ready, and no more than ``leaving`` have something left to do.
        """
        pool = self.plane.registry.find(_MODEL).pool
        before = list(pool.ready)
        self.managed.scale({_MODEL: replicas})
        await asyncio.sleep(0)  # What is too much is chosen in the loop's next turn.
        busy = sum(replica.in_flight for replica in before if not replica.ready)
        while not (len(pool.ready) == self.managed.number(_MODEL) == replicas and self.managed.leaving <= leaving):
            self.engines.changed.clear()
            await self.engines.changed.wait()
        return busy


@asynccontextmanager
async def _fleet(folder: Path, timing: Timing) -> AsyncIterator[Fleet]:
    config = Config.model_validate(_CONFIG)
    builder = RegistryBuilder()
    plane = DataPlane(config, builder.build(config), "0", "")
    made: list[SimulatedEngines] = []

    def supervise(on_change: Callable[[ReplicaStatus], None]) -> SimulatedEngines:
        made.append(SimulatedEngines(folder, on_change, timing))
        return made[0]

    managed = ManagedEngines(supervise, builder, lambda _: None)
    managed.apply(specs_of(config, 0), {model.name: model.pool for model in plane.registry.models})
    await plane.start()
    try:
        yield Fleet(plane, managed, made[0])
    finally:
        await drain(plane, delay=0.0, within=10.0)
        await managed.stop()
        await plane.stop()


async def measure(log: Callable[[str], None], settings: ScaleSettings | None = None) -> Mapping[str, Any]:
    """Let so many replicas come and go under load, and count what became of the requests."""
    settings = settings or ScaleSettings()
    draw = random.Random(1)  # noqa: S311 - a reproducible sequence, nothing secret
    timing = Timing(ttft=settings.pace, inter_token=settings.pace)
    with tempfile.TemporaryDirectory(prefix="hg-bench-") as folder:
        async with _fleet(Path(folder), timing) as fleet:
            load, over = Load(fleet.plane.address), asyncio.Event()
            asking = asyncio.create_task(_keep_asking(load, over, settings))
            busy = at_zero = 0
            while fleet.engines.events < settings.events:
                replicas = draw.randint(0, settings.replicas)
                at_zero += not replicas
                busy += await fleet.scale(replicas, settings.leaving)
            events, seconds = fleet.engines.events, load.now
            over.set()
            await fleet.scale(1, settings.leaving)
            await asking
            load.close()
            counted = fleet.plane.counters.of(_MODEL)
    found = {
        "events": events,
        "seconds": round(seconds, 1),
        "requests": len(load.records),
        "of which at replicas that were to go": busy,
        "times at zero": at_zero,
        "failed": sum(not record.succeeded for record in load.records),
        "cut": fleet.engines.cut,
        "attempts": {outcome: number for outcome, each in counted.attempts.items() if (number := sum(each.values()))},
        "retries": sum(counted.retries.values()),
        "outcomes": outcomes(load.records),
    }
    log(f"{events} scale events in {seconds:.0f} s: {found['failed']} of {found['requests']} requests failed")
    return found


async def _keep_asking(load: Load, over: asyncio.Event, settings: ScaleSettings) -> None:
    """Ask in rounds, every second request for a stream, until the scale events are over."""
    requests: list[Request] = [
        workload.chat(_MODEL, f"Tell me a story, number {number}.", settings.tokens, stream=number % 2 == 0)
        for number in range(50)
    ]
    for seed in count():
        if over.is_set():
            return
        await load.open_loop(requests, arrivals.poisson(settings.rate, settings.round_seconds, seed))
