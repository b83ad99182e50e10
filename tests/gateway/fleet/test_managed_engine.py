"""What an engine that is started and stopped here is doing, as its replica tells it."""

from __future__ import annotations

from pathlib import Path
from time import monotonic

import pytest

from engines.processes.gpus import Gpus
from engines.spec import EngineSpec, FolderSource
from engines.supervisor import Supervisor
from gateway.config.schema import Config
from gateway.fleet.local_place import LocalPlace
from gateway.fleet.managed_engine import ManagedEngine
from gateway.pools.build import RegistryBuilder
from gateway.pools.replica import ReplicaState


@pytest.fixture
def engine(tmp_path: Path) -> ManagedEngine:
    builder = RegistryBuilder()
    vllm = {"engine": "vllm", "source": "a/b"}
    pool = builder.build(Config.model_validate({"models": {"m": vllm}})).find("m").pool
    place = LocalPlace(Supervisor(folder=tmp_path, cache=tmp_path, on_change=print), Gpus(""))
    spec = EngineSpec("m", "vllm", FolderSource(tmp_path), startup_timeout=60.0)
    return ManagedEngine(spec, place, pool, builder.new_replica("m-0", "unix:/m"), since=monotonic() - 100.0)


@pytest.mark.parametrize(
    ("state", "draining", "asleep", "finds_no_room"),
    [
        ("ready", False, False, False),
        ("pending", False, False, True),
        ("asleep", False, True, False),
        ("draining", True, False, False),
        ("stopped", True, False, False),
    ],
)
def test_its_replica_says_what_it_does(
    engine: ManagedEngine, *, state: str, draining: bool, asleep: bool, finds_no_room: bool
) -> None:
    engine.replica.set_state(ReplicaState(state))
    assert (engine.draining, engine.asleep, engine.finds_no_room) == (draining, asleep, finds_no_room)


def test_one_that_is_to_go_when_another_is_ready_is_on_its_way_out(engine: ManagedEngine) -> None:
    engine.replica.leaving = True
    assert engine.draining
