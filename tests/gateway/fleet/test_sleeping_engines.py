"""Replicas that are not needed sleep and give up their GPUs; when they are needed again, they are woken.

The engines are real processes that say that they are awake whatever they are asked.
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from engines.spec import SleepMode
from gateway.pools.pool import Pool
from gateway.scaling.eviction import Holdings, Room
from tests.gateway.fleet.test_managed_engines import Here, here
from tests.kit.eventually import eventually
from tests.kit.leaks import nothing_left
from tests.kit.shell_engine import SLEEPER

pytestmark = pytest.mark.slow

ONE = SleepMode(1, most=1)
TWO = SleepMode(1, most=2)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make a folder whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="hg-") as path:
        yield Path(path)


def sleepers(folder: Path, gpus: str) -> AbstractAsyncContextManager[Here]:
    return here(folder, gpus, SLEEPER)


def pool(made: Here, model: str) -> Pool:
    return made.registry.find(model).pool


def replicas(made: Here, model: str = "m") -> dict[str, str]:
    return {replica.name: str(replica.state) for replica in pool(made, model).replicas}


async def until(made: Here, model: str = "m", **states: str) -> None:
    """Wait until a model has these replicas: ``m_0="ready"`` is m-0."""
    wanted = {name.replace("_", "-"): state for name, state in states.items()}
    await eventually(lambda: replicas(made, model) == wanted)


async def put_to_sleep(made: Here) -> None:
    """Start the only replica of m, and let it sleep."""
    made.engines.scale({"m": 1})
    await until(made, m_0="ready")
    made.engines.scale({"m": 0})
    await until(made, m_0="asleep")


def states(made: Here, name: str = "m-0") -> list[str]:
    return [state for replica, state in made.said if replica == name]


async def test_replicas_that_are_not_needed_sleep_and_are_woken_before_others_are_started(folder: Path) -> None:
    async with nothing_left(), sleepers(folder, "01") as made:
        made.want(gpus=1, sleep=TWO, m=(2, "a"))
        await until(made, m_0="ready", m_1="ready")
        took = made.engines.start_seconds("m")
        made.engines.scale({"m": 0})
        await until(made, m_0="asleep", m_1="asleep")
        assert made.engines.number("m") == 0
        assert made.engines.room() == Room(frozenset("01"), None)
        assert {replica.reason for replica in made.pool.replicas} == {"sleep level 1"}
        assert made.engines.holdings("m") == Holdings({}, [frozenset("0"), frozenset("1"), 1])
        made.engines.scale({"m": 2})
        await until(made, m_0="ready", m_1="ready")
        assert made.engines.number("m") == 2
        assert repr(made.place) == "<LocalPlace ['m-0', 'm-1'] <Gpus [0 of 2 free]>>"
        assert states(made) == ["fetching", "starting", "ready", "asleep", "starting", "ready"]
        assert made.engines.start_seconds("m") not in (None, took), "of waking, which is what requests waited for"


async def test_another_model_has_the_gpu_meanwhile_and_who_sleeps_waits_for_it(folder: Path) -> None:
    async with sleepers(folder, "0") as made:
        made.want(gpus=1, sleep=ONE, m=(0, "a"), n=(0, "a"))
        made.engines.scale({"m": 1})
        await until(made, m_0="ready")
        made.engines.scale({"m": 0, "n": 1})
        await until(made, m_0="asleep")
        await until(made, "n", n_0="ready")
        made.engines.scale({"m": 1, "n": 1})
        assert made.engines.waits_for("m") == "1 for each replica, and 0 of 1 GPUs free"
        assert replicas(made) == {"m-0": "asleep"}
        made.engines.scale({"m": 1, "n": 0})
        await until(made, m_0="ready")
        await until(made, "n", n_0="asleep")
        assert [states(made, name).count("fetching") for name in ("m-0", "n-0")] == [1, 1]


async def test_the_replica_gives_way_that_has_the_gpu_on_which_another_sleeps(folder: Path) -> None:
    async with sleepers(folder, "01") as made:
        made.want(gpus=1, sleep=TWO, m=(0, "a"), n=(0, "a"))
        await put_to_sleep(made)
        made.engines.scale({"n": 2})
        await until(made, "n", n_0="ready", n_1="ready")
        assert made.engines.holdings("m") == Holdings({}, [frozenset("0"), 1])
        assert made.engines.holdings("n") == Holdings({"n-1": frozenset("1"), "n-0": frozenset("0")}, [1])
        assert made.engines.room() == Room(frozenset(), None)
        made.engines.scale({"m": 1, "n": 1}, giving_way=["n-0"])
        await until(made, m_0="ready")
        await until(made, "n", n_0="asleep", n_1="ready")
        assert states(made).count("fetching") == 1


async def test_where_another_gpu_is_free_a_replica_is_started_there_and_who_sleeps_is_one_too_many(
    folder: Path,
) -> None:
    async with sleepers(folder, "01") as made:
        made.want(gpus=1, sleep=ONE, m=(0, "a"), n=(0, "a"))
        await put_to_sleep(made)
        made.engines.scale({"n": 1})
        await until(made, "n", n_0="ready")
        made.engines.scale({"m": 1, "n": 1})
        await until(made, m_1="ready")
        assert made.told("m-1") == "a on 1"
        await eventually(lambda: states(made)[-1] == "stopped")


async def test_one_that_ends_asleep_is_gone_and_another_is_started_when_it_is_needed(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dies = f"[ $TOLD = a ] && (until [ -e {folder}/die ]; do sleep 0.01; done; kill -9 $$) & {SLEEPER}"
    async with here(folder, "0", dies) as made:
        made.want(gpus=1, sleep=ONE, m=(1, "a"))
        await until(made, m_0="ready")
        made.engines.scale({"m": 0})
        await until(made, m_0="asleep")
        (folder / "die").touch()
        await until(made)
        await eventually(lambda: not made.engines.names)
        assert states(made)[3:] == ["asleep", "stopped", "stopped"]
        (folder / "die").unlink()
        made.engines.scale({"m": 1})
        await until(made, m_0="ready")
        assert repr(made.place) == "<LocalPlace ['m-0'] <Gpus [0 of 1 free]>>"
    # What a task that nobody awaits has raised is logged when it is collected.
    gc.collect()
    assert not caplog.records


async def test_one_that_does_not_sleep_is_stopped_and_its_gpu_is_free(folder: Path) -> None:
    async with sleepers(folder, "0") as made:
        made.want(gpus=1, sleep=ONE, m=(1, "a"))
        await until(made, m_0="ready")
        (folder / "m-0.sock.refuse").touch()
        made.engines.scale({"m": 0})
        await eventually(lambda: not made.engines.names)
        assert states(made)[3:] == ["failed", "stopped"]
        assert repr(made.place) == "<LocalPlace [] <Gpus [1 of 1 free]>>"


async def test_one_that_cannot_be_woken_is_started_anew_on_its_gpu(folder: Path) -> None:
    async with sleepers(folder, "0") as made:
        made.want(gpus=1, sleep=ONE, m=(1, "a"))
        await until(made, m_0="ready")
        made.engines.scale({"m": 0})
        await until(made, m_0="asleep")
        (folder / "m-0.sock.refuse").touch()
        made.engines.scale({"m": 1})
        await until(made, m_0="restarting")
        (folder / "m-0.sock.refuse").unlink()
        await until(made, m_0="ready")
        assert repr(made.place) == "<LocalPlace ['m-0'] <Gpus [0 of 1 free]>>"


async def test_what_a_reload_changes_ends_the_sleep_of_those_that_cannot_serve_it(folder: Path) -> None:
    async with sleepers(folder, "01") as made:
        made.want(gpus=1, sleep=TWO, m=(0, "a"), n=(0, "a"))
        made.engines.scale({"m": 2, "n": 0})
        await until(made, m_0="ready", m_1="ready")
        made.engines.scale({"m": 0})
        await until(made, m_0="asleep", m_1="asleep")
        made.want(gpus=1, sleep=SleepMode(2, most=1), m=(0, "a"), n=(0, "a"))
        await until(made, m_1="asleep")
        made.want(gpus=1, sleep=TWO, m=(0, "b"), n=(0, "a"))
        await until(made)
        made.engines.scale({"m": 1, "n": 1})
        await until(made, m_0="ready")
        await until(made, "n", n_0="ready")
        made.engines.scale({"m": 0, "n": 0})
        await until(made, m_0="asleep")
        await until(made, "n", n_0="asleep")
        made.want(gpus=1, m=(0, "b"))
        await eventually(lambda: not made.engines.names)
        assert repr(made.place) == "<LocalPlace [] <Gpus [2 of 2 free]>>"


async def test_a_replica_that_sleeps_can_be_drained_by_command_and_is_stopped_then(folder: Path) -> None:
    async with sleepers(folder, "0") as made:
        made.want(gpus=1, sleep=ONE, m=(1, "a"))
        await until(made, m_0="ready")
        made.engines.scale({"m": 0})
        await until(made, m_0="asleep")
        made.pool.drain(*made.pool.replicas)
        await until(made)
        await eventually(lambda: not made.engines.names)


async def test_one_that_still_starts_is_stopped_and_not_put_to_sleep(folder: Path) -> None:
    async with here(folder, "0", f"[ $TOLD = a ] && exec sleep 60; {SLEEPER}") as made:
        made.want(gpus=1, sleep=ONE, m=(1, "a"))
        await until(made, m_0="starting")
        made.engines.scale({"m": 0})
        await eventually(lambda: not made.engines.names)
        assert "asleep" not in states(made)


async def test_an_end_while_some_sleep_and_some_fall_asleep_leaves_nothing(folder: Path) -> None:
    async with nothing_left():
        async with sleepers(folder, "01") as made:
            made.want(gpus=1, sleep=TWO, m=(2, "a"))
            await until(made, m_0="ready", m_1="ready")
            made.engines.scale({"m": 1})
            await eventually(lambda: "asleep" in replicas(made).values())
            made.engines.scale({"m": 0})
            await eventually(lambda: len(made.pool.replicas) == 1)
        assert {states(made, name)[-1] for name in ("m-0", "m-1")} == {"stopped"}
