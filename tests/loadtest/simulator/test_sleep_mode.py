"""The simulated engine sleeps and wakes as vLLM does: asleep it holds what it is asked."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest

from loadtest.simulator import SimulatedEngine
from loadtest.simulator.batch import Batch, Timing
from loadtest.simulator.sleep_mode import COLLECTIVE_RPC, SLEEP, WAKE_UP, SleepMode


def mode() -> SleepMode:
    return SleepMode(Batch(Timing(), lambda: None), lambda: None)


def said(sleeping: SleepMode, path: str, query: str = "", body: object = None) -> object:
    answer = sleeping.answer(path, query, json.dumps(body).encode())
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def is_sleeping(sleeping: SleepMode) -> object:
    return json.loads(sleeping.is_sleeping().body)["is_sleeping"]


def test_it_sleeps_at_level_1_unless_told_otherwise_and_wakes_at_once() -> None:
    sleeping = mode()
    assert is_sleeping(sleeping) is False
    assert said(sleeping, SLEEP) == {"status": "sleeping", "level": 1}
    assert is_sleeping(sleeping) is True
    assert repr(sleeping) == "<SleepMode [asleep: kv_cache, weights; 0 held]>"
    assert said(sleeping, WAKE_UP) == {"status": "awake", "tags": None}
    assert is_sleeping(sleeping) is False


def test_at_level_2_the_weights_are_lost_until_they_are_read_again() -> None:
    sleeping = mode()
    assert said(sleeping, SLEEP, "level=2") == {"status": "sleeping", "level": 2}
    assert sleeping.answer(COLLECTIVE_RPC, "", b'{"method": "reload_weights"}').status == 500
    assert said(sleeping, WAKE_UP, "tags=weights") == {"status": "sleeping", "tags": ["weights"]}
    assert repr(sleeping) == "<SleepMode [asleep: kv_cache; weights lost; 0 held]>"
    assert said(sleeping, COLLECTIVE_RPC, body={"method": "reload_weights"}) == {"results": [None]}
    assert repr(sleeping) == "<SleepMode [asleep: kv_cache; 0 held]>"
    assert is_sleeping(sleeping) is True
    assert said(sleeping, WAKE_UP, "tags=kv_cache") == {"status": "awake", "tags": ["kv_cache"]}
    assert repr(sleeping) == "<SleepMode [awake; 0 held]>"


def test_at_level_0_only_scheduling_pauses() -> None:
    sleeping = mode()
    said(sleeping, SLEEP, "level=0")
    assert repr(sleeping) == "<SleepMode [asleep: scheduling; 0 held]>"
    assert said(sleeping, WAKE_UP, "tags=scheduling") == {"status": "awake", "tags": ["scheduling"]}


@pytest.mark.parametrize("level", ["3", "-1", "deep"])
def test_a_level_that_there_is_not_is_refused(level: str) -> None:
    sleeping = mode()
    assert sleeping.answer(SLEEP, f"level={level}", b"").status == 400
    assert is_sleeping(sleeping) is False


def test_a_call_that_is_not_utf_8_is_refused() -> None:
    assert mode().answer(COLLECTIVE_RPC, "", b'{"method": "\xff"}').status == 400


def test_a_call_that_is_no_json_is_refused() -> None:
    assert mode().answer(COLLECTIVE_RPC, "", b"{").status == 400


async def test_asleep_it_is_healthy_and_answers_a_request_when_it_is_woken(tmp_path: Path) -> None:
    async with SimulatedEngine("m", uds=tmp_path / "s", sleep_mode=True) as engine, http(engine) as session:
        async with session.post("/sleep?level=1") as answer:
            assert answer.status == 200
        async with session.get("/health") as answer:
            assert answer.status == 200
        async with session.get("/is_sleeping") as answer:
            assert await answer.json() == {"is_sleeping": True}
        stays, leaves = (asyncio.create_task(complete(session)) for _ in range(2))
        await engine.until(lambda engine: engine.waiting == 2)
        leaves.cancel()
        await engine.until(lambda engine: engine.aborted == 1)
        assert (engine.waiting, engine.running) == (1, 0)
        async with session.post("/wake_up"):
            pass
        assert await stays == 200


async def test_an_engine_that_cannot_sleep_does_not_know_the_paths(tmp_path: Path) -> None:
    async with SimulatedEngine("m", uds=tmp_path / "s") as engine, http(engine) as session:
        async with session.post("/sleep") as answer:
            assert answer.status == 404
        async with session.get("/is_sleeping") as answer:
            assert answer.status == 404


def http(engine: SimulatedEngine) -> aiohttp.ClientSession:
    socket = engine.address.removeprefix("unix:")
    return aiohttp.ClientSession("http://m", connector=aiohttp.UnixConnector(socket))


async def complete(session: aiohttp.ClientSession) -> int:
    async with session.post("/v1/completions", json={"model": "m", "prompt": "a", "max_tokens": 1}) as answer:
        return answer.status
