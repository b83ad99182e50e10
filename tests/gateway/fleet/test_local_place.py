"""Engines run here as long as there is a GPU for each, or room on the CPU."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from engines.processes.gpus import Gpus
from engines.spec import EngineSpec, FolderSource
from engines.supervisor import Supervisor
from gateway.fleet.local_place import LocalPlace
from gateway.scaling.eviction import Room
from tests.kit.eventually import eventually
from tests.kit.shell_engine import SLEEPER, Shell


def place(tmp_path: Path, gpus: str, cpu_engines: int | None = None) -> LocalPlace:
    return LocalPlace(Supervisor(folder=tmp_path, cache=tmp_path, on_change=print), Gpus(gpus), cpu_engines)


def spec(gpus: int) -> EngineSpec:
    return EngineSpec("m", "vllm", FolderSource(Path("/m")), gpus=gpus)


async def test_each_engine_has_gpus_of_its_own_until_it_has_ended(tmp_path: Path) -> None:
    here = place(tmp_path, "012")
    first = here.add(spec(2))
    assert first is not None
    assert here.add(spec(2)) is None
    await here.remove(first.replica, 0.0)
    assert here.add(spec(2)) is not None
    assert repr(here) == "<LocalPlace ['m-0'] <Gpus [1 of 3 free]>>"


async def test_so_many_run_on_the_cpu_as_may(tmp_path: Path) -> None:
    here = place(tmp_path, "0", cpu_engines=1)
    first = here.add(spec(0))
    assert first is not None
    assert here.add(spec(0)) is None
    assert here.add(spec(1)) is not None
    await here.remove(first.replica, 0.0)
    assert here.add(spec(0)) is not None
    here.cpu_engines = None
    assert here.add(spec(0)) is not None
    assert len(here.statuses) == 3


async def test_its_room_is_what_those_do_not_have_that_stay(tmp_path: Path) -> None:
    here = place(tmp_path, "012", cpu_engines=2)
    first, second, on_cpu = here.add(spec(1)), here.add(spec(1)), here.add(spec(0))
    assert first is not None
    assert second is not None
    assert on_cpu is not None
    names = [each.replica for each in (first, second, on_cpu)]
    assert [here.gpus_of(name) for name in names] == [{"0"}, {"1"}, set()]
    assert here.room_beside(names) == Room(frozenset("2"), 1)
    assert here.room_beside(names[1:2]) == Room(frozenset("02"), 2)
    here.cpu_engines = 0
    assert here.room_beside(names) == Room(frozenset("2"), -1)
    here.cpu_engines = None
    assert here.room_beside(names) == Room(frozenset("2"), None)


@pytest.mark.slow
async def test_who_sleeps_frees_its_gpus_and_wakes_on_no_others() -> None:
    with TemporaryDirectory(prefix="hg-") as name:
        folder = Path(name)
        states: list[str] = []
        supervisor = Supervisor(
            folder=folder,
            cache=folder,
            on_change=lambda status: states.append(status.state),
            launchers={"vllm": Shell(SLEEPER)},
        )
        here = LocalPlace(supervisor, Gpus("012"))
        here.start()
        first = here.add(spec(2))
        assert first is not None
        await eventually(lambda: states[-1:] == ["ready"])
        await here.sleep(first.replica, 1)
        assert repr(here) == "<LocalPlace [] asleep: ['m-0'] <Gpus [3 of 3 free]>>"
        other = here.add(spec(1))
        assert other is not None
        assert here.gpus_of(first.replica) == {"0", "1"}
        assert here.room_beside([other.replica]) == Room(frozenset("12"), None)
        assert not here.wake(first.replica)
        await here.remove(other.replica, 1.0)
        assert here.wake(first.replica)
        await eventually(lambda: states[-1:] == ["ready"])
        await here.sleep(first.replica, 1)
        another = here.add(spec(3))
        await here.remove(first.replica, 1.0)
        assert another is not None
        assert repr(here) == f"<LocalPlace ['{another.replica}'] <Gpus [0 of 3 free]>>"
        await here.stop(1.0)
