"""An engine is put to sleep and woken by vLLM's endpoints, in the order that each level needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.errors import EngineError
from engines.processes.sleep_mode import fall_asleep, wake_up
from loadtest.simulator import SimulatedEngine
from loadtest.simulator.faults import Faults


def asked(engine: SimulatedEngine) -> list[str]:
    return [request.path for request in engine.requests]


async def test_at_level_1_one_request_puts_it_to_sleep_and_one_wakes_it(tmp_path: Path) -> None:
    async with SimulatedEngine("m", uds=tmp_path / "s", sleep_mode=True) as engine:
        await fall_asleep(tmp_path / "s", 1, 5.0)
        assert repr(engine.sleep_mode) == "<SleepMode [asleep: kv_cache, weights; 0 held]>"
        await wake_up(tmp_path / "s", 1, 5.0)
        assert repr(engine.sleep_mode) == "<SleepMode [awake; 0 held]>"
        assert asked(engine) == ["/sleep?level=1", "/wake_up"]


async def test_at_level_2_the_weights_are_read_again_before_it_answers(tmp_path: Path) -> None:
    async with SimulatedEngine("m", uds=tmp_path / "s", sleep_mode=True) as engine:
        await fall_asleep(tmp_path / "s", 2, 5.0)
        await wake_up(tmp_path / "s", 2, 5.0)
        assert repr(engine.sleep_mode) == "<SleepMode [awake; 0 held]>"
        assert asked(engine)[1:] == ["/wake_up?tags=weights", "/collective_rpc", "/wake_up?tags=kv_cache"]
        assert engine.requests[2].body == b'{"method": "reload_weights"}'


async def test_what_an_engine_refuses_is_said_in_its_words(tmp_path: Path) -> None:
    async with SimulatedEngine("m", uds=tmp_path / "s"):
        with pytest.raises(EngineError, match=r'/sleep\?level=1 answered 404: {"detail":"Not Found"}'):
            await fall_asleep(tmp_path / "s", 1, 5.0)


@pytest.mark.parametrize("body", ['{"status":"sleeping","tags":null}', "awake"])
async def test_an_engine_that_does_not_say_that_it_is_awake_was_not_woken(tmp_path: Path, body: str) -> None:
    faults = Faults(status=200, error_body=body)
    async with SimulatedEngine("m", uds=tmp_path / "s", faults=faults, sleep_mode=True):
        with pytest.raises(EngineError, match=f"It did not say that it is awake, but '{body}'"):
            await wake_up(tmp_path / "s", 1, 5.0)


async def test_an_engine_that_does_not_answer_is_not_waited_for_longer_than_may_be(tmp_path: Path) -> None:
    async with SimulatedEngine("m", uds=tmp_path / "s", faults=Faults(silent=True), sleep_mode=True):
        with pytest.raises(EngineError, match=r"It was not asleep within 0.01 s\."):
            await fall_asleep(tmp_path / "s", 1, 0.01)
        with pytest.raises(EngineError, match=r"It was not awake within 0.01 s\."):
            await wake_up(tmp_path / "s", 2, 0.01)


async def test_an_engine_that_is_not_there_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="/wake_up was not answered: "):
        await wake_up(tmp_path / "s", 1, 5.0)
