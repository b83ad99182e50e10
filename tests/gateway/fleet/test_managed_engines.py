"""As many engines run as each model wants, and a change replaces them one by one while the others serve.

The engines are real processes that do no more than to say that they are ready.
"""

from __future__ import annotations

import asyncio
import dataclasses
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from engines.processes.gpus import Gpus
from engines.spec import EngineSpec, FolderSource, RayDemand, SleepMode
from engines.supervisor import ReplicaStatus, State, Supervisor
from gateway.config.schema import Config
from gateway.core.ticker import Ticker
from gateway.fleet import managed_engine
from gateway.fleet.local_place import LocalPlace
from gateway.fleet.managed_engines import ManagedEngines
from gateway.pools.build import RegistryBuilder
from gateway.pools.pool import Pool
from gateway.pools.registry import Registry
from gateway.pools.replica import Replica, ReplicaState
from gateway.scaling.eviction import Holdings, Room
from tests.kit.eventually import eventually
from tests.kit.leaks import nothing_left
from tests.kit.shell_engine import SMALL, Shell

pytestmark = pytest.mark.slow

STARTUP_TIMEOUT = 600.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make a folder whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="hg-") as path:
        yield Path(path)


class Here:
    """Engines of models that change, with all that happened to their replicas."""

    def __init__(self, folder: Path, gpus: str) -> None:
        self.shell = Shell()
        self.said: list[tuple[str, str]] = []
        self.least_ready: int | None = None
        """The fewest replicas that were ready at one time since this was set."""
        self.cpu_engines: int | None = None
        self._folder, self._gpus = folder, Gpus(gpus)
        self._builder = RegistryBuilder()
        self.registry = Registry([])
        self.engines = ManagedEngines(self._place, self._builder, self._changed)
        self.ticker = Ticker(self._tick, lambda _: None)

    def want(self, gpus: int = 0, sleep: SleepMode | None = None, **models: Any) -> None:
        """Want these models from now on: each is a number of replicas, what its engines are told, and perhaps GPUs."""
        vllm = {"engine": "vllm", "source": "a/b"}
        old = self.registry
        self.registry = self._builder.build(Config.model_validate({"models": dict.fromkeys(models, vllm)}))
        old.succeeded_by(self.registry)
        specs = [
            EngineSpec(
                model,
                "vllm",
                FolderSource(self._folder),
                replicas=replicas,
                gpus=of_its_own[0] if of_its_own else gpus,
                env={"TOLD": told},
                sleep=sleep,
            )
            for model, (replicas, told, *of_its_own) in models.items()
        ]
        pools = {model.name: model.pool for model in self.registry.models}
        self.place.cpu_engines = self.cpu_engines
        self.engines.apply(specs, pools)

    def _place(self, on_change: Callable[[ReplicaStatus], None]) -> LocalPlace:
        launchers = {"vllm": self.shell}
        supervisor = Supervisor(folder=self._folder, cache=self._folder, on_change=on_change, launchers=launchers)
        self.place = LocalPlace(supervisor, self._gpus)
        return self.place

    @property
    def pool(self) -> Pool:
        return self.registry.find("m").pool

    @property
    def ready(self) -> list[str]:
        return [replica.name for replica in self.pool.ready]

    async def until_ready(self, *replicas: str) -> None:
        """Wait until exactly these replicas are there, and ready."""
        await eventually(lambda: self.ready == [each.name for each in self.pool.replicas] == list(replicas))

    def told(self, replica: str) -> str:
        """Give what an engine was told, and its GPUs, as its log has them; nothing if there is none yet."""
        log = self._folder / f"{replica}.log"
        return log.read_text().partition("\n")[0].strip() if log.exists() else ""

    def _changed(self, status: ReplicaStatus) -> None:
        self.said.append((status.replica, status.state.value))

    def _tick(self, now: float) -> None:
        self.registry.tick(now)

    def watch(self) -> None:
        """Note from now on how few replicas are ready."""
        self.least_ready = len(self.ready)
        self.pool.observe(self._watch_all)
        self._watch_all(self.pool)

    def _watch_all(self, pool: Pool) -> None:
        for replica in pool.replicas:
            replica.observe(self._count_ready)

    def _count_ready(self, _replica: Replica) -> None:
        assert self.least_ready is not None
        self.least_ready = min(self.least_ready, sum(replica.ready for replica in self.pool.replicas))


@asynccontextmanager
async def here(folder: Path, gpus: str = "", engine: str = SMALL) -> AsyncIterator[Here]:
    made = Here(folder, gpus)
    made.shell.script = f"echo $TOLD on $DEVICES; {engine}"
    made.ticker.start()
    made.engines.start()
    try:
        yield made
    finally:
        await made.engines.stop()
        made.ticker.stop()


async def test_as_many_run_as_are_wanted_and_the_rest_is_stopped(folder: Path) -> None:
    async with nothing_left(), here(folder) as made:
        made.want(m=(1, "a"))
        assert made.engines.awaited == ["m-0"]
        await made.until_ready("m-0")
        made.want(m=(3, "a"))
        await made.until_ready("m-0", "m-1", "m-2")
        made.want(m=(2, "a"))
        await made.until_ready("m-0", "m-1")
        await eventually(lambda: list(made.engines.names) == ["m-0", "m-1"])
        made.want(m=(0, "a"))
        await eventually(lambda: not made.engines.names)
    assert [what for name, what in made.said if name == "m-0"] == ["fetching", "starting", "ready", "stopped"]


async def test_a_change_replaces_engines_one_by_one_and_as_many_serve_as_before(folder: Path) -> None:
    async with here(folder) as made:
        made.want(m=(2, "old"))
        await made.until_ready("m-0", "m-1")
        made.watch()
        made.want(m=(2, "new"))
        await eventually(lambda: [made.told(name) for name in made.engines.names] == ["new on", "new on"], 30)
        await eventually(lambda: len(made.ready) == 2)
        assert made.least_ready == 2


async def test_engines_of_a_model_that_did_not_change_are_left_alone(folder: Path) -> None:
    async with here(folder) as made:
        made.want(m=(1, "a"), n=(1, "a"))
        await made.until_ready("m-0")
        await eventually(lambda: len(made.registry.find("n").pool.ready) == 1)
        made.want(m=(1, "a"), n=(1, "b"))
        await eventually(lambda: list(made.engines.names) == ["m-0", "n-1"])
        assert [what for name, what in made.said if name == "m-0"] == ["fetching", "starting", "ready"]


async def test_engines_that_do_not_become_ready_leave_the_old_ones_serving(folder: Path) -> None:
    async with here(folder) as made:
        made.want(m=(1, "old"))
        await made.until_ready("m-0")
        working, made.shell.script = made.shell.script, "exit 1"
        made.want(m=(1, "broken"))
        await eventually(lambda: ("m-1", "restarting") in made.said)
        assert made.ready == ["m-0"]
        made.shell.script = working
        made.want(m=(1, "old"))
        await eventually(lambda: list(made.engines.names) == ["m-0"])
        await made.until_ready("m-0")


async def test_where_no_gpu_is_free_an_old_engine_gives_way_first(folder: Path) -> None:
    async with here(folder, gpus="01") as made:
        made.want(gpus=1, m=(2, "old"))
        await made.until_ready("m-0", "m-1")
        assert [made.told(name) for name in ("m-0", "m-1")] == ["old on 0", "old on 1"]
        made.watch()
        made.want(gpus=1, m=(2, "new"))
        await eventually(lambda: {made.told(name) for name in made.ready} == {"new on 0", "new on 1"}, 30)
        assert made.least_ready == 1


async def test_a_gpu_that_an_update_could_use_goes_to_a_new_model_first(folder: Path) -> None:
    async with here(folder, gpus="01") as made:
        made.want(gpus=1, m=(1, "old"))
        await made.until_ready("m-0")
        made.want(gpus=1, m=(1, "new"), n=(1, "a"))
        await eventually(lambda: len(made.registry.find("n").pool.ready) == 1 and made.told("n-0") == "a on 1")
        await eventually(lambda: [made.told(name) for name in made.ready] == ["new on 0"])


async def test_the_engines_of_a_model_that_is_removed_end_with_its_last_request(folder: Path) -> None:
    async with here(folder) as made:
        made.want(m=(1, "a"), n=(1, "a"))
        await made.until_ready("m-0")
        pool = made.pool
        (replica,) = pool.replicas
        replica.load.entered()
        made.want(n=(1, "a"))
        await made.ticker.next_tick()
        await made.ticker.next_tick()
        assert "m-0" in made.engines.names
        replica.load.left()
        await eventually(lambda: list(made.engines.names) == ["n-0"])
        assert ("m-0", "stopped") in made.said


async def test_a_replica_that_is_drained_by_command_is_replaced(folder: Path) -> None:
    async with here(folder) as made:
        made.want(m=(2, "a"))
        await made.until_ready("m-0", "m-1")
        made.pool.drain(made.pool.replicas[0])
        await eventually(lambda: ("m-0", "stopped") in made.said)
        await eventually(lambda: len(made.ready) == 2)
        assert made.said.count(("m-1", "starting")) == 1


async def test_an_end_in_the_middle_of_a_change_leaves_nothing(folder: Path) -> None:
    async with nothing_left():
        async with here(folder) as made:
            made.want(m=(2, "old"))
            await made.until_ready("m-0", "m-1")
            made.want(m=(2, "new"))
            await eventually(lambda: ("m-2", "starting") in made.said)
            for _ in range(3):
                await asyncio.sleep(0)
        assert {replica.state for replica in made.pool.replicas} == {"stopped"}


async def test_a_number_that_demand_asks_for_holds_until_it_is_taken_back(folder: Path) -> None:
    async with nothing_left(), here(folder) as made:
        made.want(m=(1, "a"))
        made.engines.scale({"m": 3})
        await made.until_ready("m-0", "m-1", "m-2")
        assert made.engines.number("m") == 3
        assert (made.engines.start_seconds("m") or 0) > 0
        made.want(m=(1, "b"))
        await eventually(lambda: [made.told(name) for name in made.engines.names] == ["b on"] * 3, 30)
        made.engines.scale({"m": 0})
        await eventually(lambda: not made.engines.names)
        made.engines.scale({})
        await eventually(lambda: len(made.ready) == 1)


async def test_the_least_busy_goes_first(folder: Path) -> None:
    async with here(folder) as made:
        made.want(m=(3, "a"))
        await made.until_ready("m-0", "m-1", "m-2")
        for replica, number in zip(made.pool.replicas, (2, 1, 3), strict=True):
            for _ in range(number):
                replica.load.entered()
        made.engines.scale({"m": 1})
        await eventually(lambda: made.ready == ["m-2"])
        assert made.engines.holdings("m") == Holdings({"m-2": frozenset()}, [0])
        for replica in made.pool.replicas:
            while replica.in_flight:
                replica.load.left()
        await made.until_ready("m-2")


async def test_those_go_first_that_are_to_give_way(folder: Path) -> None:
    async with here(folder, gpus="01") as made:
        made.want(m=(2, "a"), gpus=1)
        await made.until_ready("m-0", "m-1")
        assert made.engines.holdings("m") == Holdings({"m-1": frozenset("1"), "m-0": frozenset("0")}, [1])
        assert list(made.engines.holdings("m").replicas) == ["m-1", "m-0"]
        assert made.engines.room() == Room(frozenset(), None)
        made.engines.scale({"m": 1}, giving_way=["m-0"])
        await made.until_ready("m-1")
        assert made.engines.room() == Room(frozenset("0"), None)


async def test_what_an_update_replaces_is_not_for_scaling_to_take(folder: Path) -> None:
    async with here(folder, gpus="01") as made:
        made.want(m=(1, "old"), gpus=1)
        await made.until_ready("m-0")
        made.want(m=(1, "new"), gpus=1)
        assert made.engines.holdings("m") == Holdings({}, [1])
        await eventually(lambda: [made.told(name) for name in made.ready] == ["new on 1"])
        await eventually(lambda: list(made.engines.names) == ["m-1"])
        assert made.engines.holdings("m").replicas == {"m-1": frozenset("1")}


async def test_where_the_cpu_is_full_an_engine_waits_for_another_to_go(folder: Path) -> None:
    async with here(folder) as made:
        made.cpu_engines = 2
        made.want(m=(1, "a"), n=(1, "a"))
        made.engines.scale({"m": 2, "n": 1})
        await made.until_ready("m-0")
        await eventually(lambda: len(made.registry.find("n").pool.ready) == 1)
        assert made.engines.number("m") == 1
        assert made.engines.room() == Room(frozenset(), 0)
        assert made.engines.waits_for("m") == "cpu_engines = 2, and so many run"
        assert made.engines.waits_for("n") == ""
        made.engines.scale({"m": 2, "n": 0})
        await eventually(lambda: made.engines.waits_for("m").endswith("; 1 on their way out"))
        assert made.engines.room() == Room(frozenset(), 1)
        await made.until_ready("m-0", "m-1")
        assert made.engines.number("n") == 0


async def test_room_for_one_goes_to_the_first_in_line(folder: Path) -> None:
    async with here(folder, gpus="0") as made:
        made.want(m=(0, "a"), n=(0, "a"), o=(0, "a"), gpus=1)
        made.engines.scale({"m": 1})
        await made.until_ready("m-0")
        made.engines.scale({"o": 1, "n": 1, "m": 0})
        await eventually(lambda: list(made.engines.names) == ["o-0"])


async def test_what_several_leave_one_after_the_other_is_kept_for_the_first_in_line(folder: Path) -> None:
    async with here(folder, gpus="01") as made:
        made.want(m=(0, "a", 2), n=(1, "a", 1), o=(1, "a", 1), p=(0, "a", 1))
        await eventually(lambda: all(len(made.registry.find(name).pool.ready) == 1 for name in "no"))
        (busy,) = made.registry.find("o").pool.replicas
        busy.load.entered()
        made.engines.scale({"m": 1, "p": 1, "n": 0, "o": 0})
        await eventually(lambda: list(made.engines.names) == ["o-0"])
        await made.ticker.next_tick()
        await made.ticker.next_tick()
        assert list(made.engines.names) == ["o-0"]
        kept = "what is free is kept for a model that waits for more of it; 1 on their way out"
        assert made.engines.waits_for("p") == kept
        busy.load.left()
        await made.until_ready("m-0")
        assert made.engines.waits_for("p") == "1 for each replica, and 0 of 2 GPUs free"


async def test_what_is_left_beside_the_first_in_line_is_given_at_once(folder: Path) -> None:
    async with here(folder, gpus="012") as made:
        made.want(m=(0, "a", 2), n=(1, "a", 1), o=(1, "a", 1), p=(0, "a", 1))
        await eventually(lambda: all(len(made.registry.find(name).pool.ready) == 1 for name in "no"))
        (busy,) = made.registry.find("o").pool.replicas
        busy.load.entered()
        made.engines.scale({"m": 1, "p": 1, "n": 0, "o": 0})
        # There will be three GPUs: two for the first in line, and one for the next.
        await eventually(lambda: set(made.engines.names) >= {"o-0", "p-0"})
        busy.load.left()
        await made.until_ready("m-0")


async def test_what_waits_for_a_gpu_says_so(folder: Path) -> None:
    async with here(folder, gpus="012") as made:
        made.want(m=(1, "a"), gpus=2)
        await made.until_ready("m-0")
        made.engines.scale({"m": 2})
        assert made.engines.waits_for("m") == "2 for each replica, and 1 of 3 GPUs free"


class Elsewhere:
    """A cluster as a place where engines run: what becomes of each is said by the test."""

    def __init__(self, on_change: Callable[[ReplicaStatus], None]) -> None:
        self._on_change = on_change
        self.replicas: dict[str, ReplicaStatus] = {}

    @property
    def statuses(self) -> list[ReplicaStatus]:
        return list(self.replicas.values())

    def lacks(self, spec: EngineSpec) -> str:
        return ""

    def add(self, spec: EngineSpec) -> ReplicaStatus:
        number = next(n for n in range(99) if f"m-ray{n}" not in self.replicas)
        status = ReplicaStatus(spec.model, f"m-ray{number}", State.PENDING, "http://ray.invalid")
        self.replicas[status.replica] = status
        return status

    def say(self, name: str, state: State, **changes: str) -> None:
        self.replicas[name] = status = dataclasses.replace(self.replicas[name], state=state, **changes)
        self._on_change(status)

    async def remove(self, name: str, grace: float) -> None:
        self.say(name, State.STOPPED)
        del self.replicas[name]

    def start(self) -> None:
        pass

    async def stop(self, grace: float) -> None:
        self.replicas.clear()


class OnCluster(Here):
    """The same, with engines on a cluster."""

    cluster: Elsewhere

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "")
        self.engines = ManagedEngines(self._place, self._builder, self._changed, ray=self._elsewhere)

    def _elsewhere(self, on_change: Callable[[ReplicaStatus], None]) -> Elsewhere:
        self.cluster = Elsewhere(on_change)
        return self.cluster

    def want_there(self, replicas: int, told: str = "") -> None:
        """Want so many replicas on the cluster."""
        if not self.registry.models:
            vllm = {"engine": "vllm", "source": "a/b"}
            self.registry = self._builder.build(Config.model_validate({"models": {"m": vllm}}))
        demand = RayDemand(labels={"told": told})
        spec = EngineSpec("m", "vllm", FolderSource(self._folder), replicas=replicas, ray=demand)
        spec = dataclasses.replace(spec, startup_timeout=STARTUP_TIMEOUT)
        self.engines.apply([spec], {"m": self.pool})

    def run(self, name: str, port: int = 20_001) -> None:
        """Let a replica have been placed, and be ready."""
        self.cluster.say(name, State.STARTING, address=f"http://10.0.0.5:{port}", key="s3cret")
        self.cluster.say(name, State.READY)


@pytest.fixture
async def there(folder: Path) -> AsyncIterator[OnCluster]:
    made = OnCluster(folder)
    made.ticker.start()
    made.engines.start()
    yield made
    await made.engines.stop()
    made.ticker.stop()


async def test_a_replica_on_a_cluster_is_asked_where_it_was_placed_and_with_its_key(there: OnCluster) -> None:
    there.want_there(1)
    (replica,) = there.pool.replicas
    assert (replica.name, replica.state, there.engines.awaited) == ("m-ray0", ReplicaState.PENDING, ["m-ray0"])
    there.run("m-ray0")
    assert there.ready == ["m-ray0"]
    assert replica.address.url == replica.connections.address.url == "http://10.0.0.5:20001"
    assert replica.headers == b"host: 10.0.0.5:20001\r\nauthorization: Bearer s3cret\r\n"
    # It was lost with its node, and is somewhere else now.
    there.cluster.say("m-ray0", State.RESTARTING, reason="its node died")
    assert there.ready == []
    there.run("m-ray0", 20_002)
    assert replica.address.url == "http://10.0.0.5:20002"
    assert there.pool.replicas == (replica,)


async def test_why_an_engine_has_ended_is_known_until_it_is_ready_again(there: OnCluster) -> None:
    there.want_there(1)
    (replica,) = there.pool.replicas
    there.cluster.say("m-ray0", State.STARTING)
    assert replica.reason == ""
    there.cluster.say("m-ray0", State.RESTARTING, reason="It ended with exit code 1.")
    there.cluster.say("m-ray0", State.STARTING, reason="")
    assert replica.reason == "started again: It ended with exit code 1."
    there.cluster.say("m-ray0", State.READY)
    assert replica.reason == ""


async def test_an_update_on_a_cluster_waits_for_room_before_it_gives_any_up(
    there: OnCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    there.want_there(1, "old")
    there.run("m-ray0")
    there.want_there(1, "new")
    assert [each.name for each in there.pool.replicas] == ["m-ray0", "m-ray1"]
    there.cluster.say("m-ray1", State.PENDING, reason="no room")
    await asyncio.sleep(0)
    assert there.ready == ["m-ray0"]
    monkeypatch.setattr(managed_engine, "monotonic", lambda: monotonic() + STARTUP_TIMEOUT)
    there.cluster.say("m-ray1", State.PENDING, reason="no room for long")
    await eventually(lambda: [each.name for each in there.pool.replicas] == ["m-ray1"])
    there.run("m-ray1", 20_003)
    assert there.ready == ["m-ray1"]


async def test_for_replicas_on_a_cluster_no_room_is_counted_here(there: OnCluster) -> None:
    there.want_there(1)
    there.run("m-ray0")
    assert there.engines.holdings("m") == Holdings({})
    assert there.engines.room() == Room(frozenset(), None)


async def test_a_model_moves_between_here_and_a_cluster(there: OnCluster) -> None:
    there.shell.script = SMALL
    there.want(m=(1, "a"))
    await there.until_ready("m-0")
    there.want_there(1)
    assert there.ready == ["m-0"]
    there.run("m-ray0")
    await there.until_ready("m-ray0")
