"""An engine that goes away and comes back costs nobody a request but those that were under way, and few of these."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from loadtest.simulator import SimulatedEngine, Timing
from tests.kit.gateways import RunningGateway, gateway, remote
from tests.kit.wire import Wire

pytestmark = pytest.mark.slow

ASKED = {"model": "m", "prompt": "a", "max_tokens": 2}


async def status(running: RunningGateway) -> Any:
    async with await Wire.connect_to(running.control) as wire:
        await wire.request("GET", "/status")
        (model,) = (await wire.response()).json["models"]
        return model


async def until(running: RunningGateway, ready: bool, waiting: int = 0) -> Any:
    """Look at the status until the replica is ready or not, and so many requests wait at least."""
    async with asyncio.timeout(60):
        while True:
            seen = await status(running)
            if seen["replicas"][0]["ready"] is ready and seen["waiting"] >= waiting:
                return seen
            await asyncio.sleep(0.02)


async def ask(running: RunningGateway) -> tuple[int, str]:
    async with await running.wire(timeout=60.0) as wire:
        await wire.request("POST", "/v1/completions", ASKED)
        answer = await wire.response()
        return answer.status, answer.json.get("error", {}).get("code", "")


@pytest.mark.parametrize("processes", [1, 3])
@pytest.mark.parametrize("limit", [None, 4])
async def test_nobody_fails_who_comes_while_the_only_engine_is_away(
    tmp_path: Path, processes: int, limit: int | None
) -> None:
    limits = {} if limit is None else {"max_in_flight": limit}
    async with (
        SimulatedEngine("m", uds=tmp_path / "engine", timing=Timing(ttft=60.0)) as engine,
        gateway({"m": remote(engine.address, **limits)}, processes=processes) as running,
    ):
        under_way = [asyncio.create_task(ask(running)) for _ in range(8)]
        await engine.until(lambda each: each.running + each.waiting >= 4)
        engine.crash()
        meanwhile = [asyncio.create_task(ask(running)) for _ in range(20)]
        seen = await until(running, ready=False, waiting=20)
        meanwhile += [asyncio.create_task(ask(running)) for _ in range(20)]
        await until(running, ready=False, waiting=seen["waiting"] + 20)
        assert not any(task.done() for task in meanwhile)
        engine.timing = Timing()
        await engine.restart()
        assert Counter(await asyncio.gather(*meanwhile)) == {(200, ""): 40}
        # Those that were under way are asked again too, as none of them had an answer.
        assert Counter(await asyncio.gather(*under_way)) == {(200, ""): 8}
        async with asyncio.timeout(60):
            while (seen := await status(running))["running"] or seen["waiting"]:  # noqa: ASYNC110 - it tells nobody that it changed
                await asyncio.sleep(0.02)
        metrics = await running.metrics()
        held = next(line for line in metrics.splitlines() if 'admissions_total{model="m",outcome="held"}' in line)
        assert float(held.split()[-1]) >= 20


async def test_an_engine_that_stays_away_is_told_after_hold(tmp_path: Path) -> None:
    async with (
        SimulatedEngine("m", uds=tmp_path / "engine") as engine,
        gateway({"m": remote(engine.address, hold=0.5)}) as running,
    ):
        engine.crash()
        await until(running, ready=False)
        assert await ask(running) == (503, "no_ready_replica")
        await engine.restart()
        await until(running, ready=True)
        assert (await ask(running))[0] == 200


async def test_a_drain_does_not_wait_for_an_engine_that_is_away(tmp_path: Path) -> None:
    async with (
        SimulatedEngine("m", uds=tmp_path / "engine") as engine,
        gateway({"m": remote(engine.address)}, processes=2) as running,
    ):
        engine.crash()
        await until(running, ready=False)
        held = [asyncio.create_task(ask(running)) for _ in range(6)]
        await until(running, ready=False, waiting=6)
        await running.gateway.stop()
        assert Counter(await asyncio.gather(*held)) == {(503, "shutting_down"): 6}
        await engine.restart()
