"""What follows for the engines of a model, whatever those that there are do at the time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import monotonic

import pytest

from engines.processes.gpus import Gpus
from engines.spec import EngineSpec, FolderSource
from engines.supervisor import Supervisor
from gateway.config.schema import Config
from gateway.fleet.local_place import LocalPlace
from gateway.fleet.managed_engine import ManagedEngine
from gateway.fleet.rolling_update import Step, next_step, surplus
from gateway.pools.build import RegistryBuilder
from gateway.pools.replica import ReplicaState

OLD = EngineSpec("m", "vllm", FolderSource(Path("/old")), startup_timeout=60.0)
NEW = EngineSpec("m", "vllm", FolderSource(Path("/new")), startup_timeout=60.0)

Make = Callable[..., list[ManagedEngine]]
"""Makes engines of a specification that have the states of these names, the youngest last."""


@pytest.fixture
def make(tmp_path: Path) -> Make:
    builder = RegistryBuilder()
    vllm = {"engine": "vllm", "source": "a/b"}
    pool = builder.build(Config.model_validate({"models": {"m": vllm}})).find("m").pool
    place = LocalPlace(Supervisor(folder=tmp_path, cache=tmp_path, on_change=print), Gpus(""))

    def engines(spec: EngineSpec, *states: str, waited: float = 0.0) -> list[ManagedEngine]:
        made = []
        for number, state in enumerate(states):
            replica = builder.new_replica(f"m-{number}", f"unix:/{number}")
            replica.set_state(ReplicaState(state))
            made.append(ManagedEngine(spec, place, pool, replica, since=monotonic() - waited))
        return made

    return engines


def test_what_is_missing_is_started_at_once(make: Make) -> None:
    assert next_step(NEW, make(NEW, "ready"), 3, missing=2) == Step(start=2)
    assert next_step(NEW, make(NEW, "ready", "starting"), 2, missing=0) == Step()
    # More that fall asleep than are missing.
    assert next_step(NEW, make(NEW, "ready"), 1, missing=-1) == Step()


def test_what_is_too_much_goes_before_anything_else(make: Make) -> None:
    new = make(NEW, "ready", "ready", "ready")
    assert next_step(NEW, new, 1, missing=-2) == Step(drain=new[1:])
    assert next_step(NEW, new, 2, -1, ["m-0"]) == Step(drain=new[:1])


def test_an_old_one_that_serves_nobody_goes_at_once(make: Make) -> None:
    ready, failed = old = make(OLD, "ready", "failed")
    assert next_step(NEW, old, 2, missing=0) == Step(drain=[failed])
    assert next_step(NEW, [ready], 1, missing=0) == Step(start=1, gives_way=ready)


def test_one_new_engine_after_the_other_takes_the_place_of_an_old_one(make: Make) -> None:
    old, new, starting = make(OLD, "ready", "ready"), make(NEW, "ready"), make(NEW, "starting")
    assert next_step(NEW, old, 2, missing=0) == Step(start=1, gives_way=old[0])
    assert next_step(NEW, [*old, *starting], 2, missing=-1) == Step()
    assert next_step(NEW, [*old, *new], 2, missing=-1) == Step(drain=old[:1])
    assert next_step(NEW, [*old[1:], *new], 2, missing=0) == Step(start=1, gives_way=old[1])


def test_no_second_one_gives_way_while_one_is_on_its_way_out(make: Make) -> None:
    old, lost = make(OLD, "ready"), make(NEW, "pending", waited=100.0)
    assert next_step(NEW, old, 2, missing=1, any_draining=True) == Step(start=1)
    assert next_step(NEW, [*old, *lost], 2, missing=0, any_draining=True) == Step()


def test_one_gives_way_to_a_new_one_that_finds_no_room_on_its_cluster(make: Make) -> None:
    old = make(OLD, "ready")
    assert next_step(NEW, [*old, *make(NEW, "pending")], 1, missing=-1) == Step()
    assert next_step(NEW, [*old, *make(NEW, "pending", waited=100.0)], 1, missing=-1) == Step(drain=old)


def test_the_least_useful_go_first(make: Make) -> None:
    busy, idle, starting, younger = engines = make(NEW, "ready", "ready", "starting", "ready")
    busy.replica.load.correct(3)
    assert surplus(engines, 0) == [busy, idle, younger, starting]
    assert surplus(engines, 2, ["m-0"]) == [starting, busy]
