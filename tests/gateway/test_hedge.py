"""A second replica is asked where the first is late; the first answer wins, and the loser is told to stop."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from loadtest.engine import SimulatedEngine
from loadtest.engine.faults import Faults
from tests.kit.gateways import RunningGateway, gateway, remote
from tests.kit.wire import Answer

EMBEDDINGS = "/v1/embeddings"


async def answer_to(running: RunningGateway, path: str = EMBEDDINGS, **fields: Any) -> Answer:
    async with await running.wire() as wire:
        await wire.request("POST", path, {"model": "m", "input": "Hi", **fields})
        return await wire.answer()


@dataclass
class House:
    """Two replicas that take turns, and a gateway that knows how long they usually take."""

    engines: list[SimulatedEngine]
    running: RunningGateway

    @property
    def received(self) -> list[int]:
        return [engine.received for engine in self.engines]

    async def next_is(self, number: int) -> None:
        """Ask until it was the other engine's turn, and no hedge took a turn of its own; the next is this engine's."""
        while True:
            before = self.received[number], await self.hedged()
            await answer_to(self.running)
            await self.running.gateway.idle()
            if (self.received[number], await self.hedged()) == before:
                return

    async def hedged(self) -> float:
        return value(await self.running.metrics(), 'headgate_upstream_aborts_total{model="m",reason="hedged"}')

    async def settled(self) -> str:
        await self.running.gateway.idle()
        assert "0 in flight, 0 queued" in repr(self.running)
        return await self.running.metrics()


@asynccontextmanager
async def house(tmp_path: Path, **options: Any) -> AsyncIterator[House]:
    async with (
        SimulatedEngine("m", uds=tmp_path / "a") as one,
        SimulatedEngine("m", uds=tmp_path / "b") as two,
        gateway({"m": remote(one.address, two.address, policy="round_robin", **options)}) as running,
    ):
        # Slow answers teach what is late; the quick ones behind them are not, and save up for what the test needs.
        for engine in (one, two):
            engine.faults = Faults(delay=0.05)
        assert {answer.status for answer in await asyncio.gather(*(answer_to(running) for _ in range(20)))} == {200}
        for engine in (one, two):
            engine.faults = Faults()
        for _ in range(40):
            assert (await answer_to(running)).status == 200
        yield House([one, two], running)


def value(metrics: str, series: str) -> float:
    found = re.search(rf"^{re.escape(series)} (\S+)$", metrics, re.MULTILINE)
    return float(found[1]) if found else 0.0


async def test_the_first_answer_wins_and_the_other_engine_is_told_to_stop(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        await here.next_is(0)
        here.engines[0].faults = Faults(silent=True)
        before = here.received
        assert (await answer_to(here.running)).status == 200
        await here.engines[0].until(lambda engine: engine.aborted >= 1)
        assert [now - then for now, then in zip(here.received, before, strict=True)] == [1, 1]
        metrics = await here.settled()
        assert value(metrics, 'headgate_upstream_aborts_total{model="m",reason="hedged"}') >= 1
        assert value(metrics, 'headgate_upstream_attempts_total{model="m",outcome="aborted",replica="m-0"}') >= 1


async def test_an_answer_of_the_first_ends_the_second_attempt(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        await here.next_is(0)
        here.engines[0].faults = Faults(delay=0.3)
        here.engines[1].faults = Faults(silent=True)
        assert (await answer_to(here.running)).status == 200
        await here.engines[1].until(lambda engine: engine.aborted >= 1)
        await here.settled()


@pytest.mark.parametrize("fault", [Faults(status=500), Faults(status=503), Faults(garbage=True)])
async def test_a_second_replica_that_fails_leaves_it_to_the_first(tmp_path: Path, fault: Faults) -> None:
    async with house(tmp_path) as here:
        await here.next_is(0)
        here.engines[0].faults = Faults(delay=0.3)
        here.engines[1].faults = fault
        before = here.received[1]
        assert (await answer_to(here.running)).status == 200
        assert here.received[1] > before
        await here.settled()


async def test_a_first_replica_that_fails_late_leaves_it_to_the_second(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        await here.next_is(0)
        here.engines[0].faults = Faults(delay=0.1, status=503)
        here.engines[1].faults = Faults(delay=0.3)
        assert (await answer_to(here.running)).status == 200
        await here.settled()


async def test_both_failing_is_an_error(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        await here.next_is(0)
        here.engines[0].faults = Faults(delay=0.1, status=503)
        here.engines[1].faults = Faults(delay=0.3, status=503)
        answer = await answer_to(here.running)
        assert answer.status in (502, 503)
        await here.settled()


async def test_a_client_that_leaves_ends_both_attempts(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        await here.next_is(0)
        before = here.received[1]
        for engine in here.engines:
            engine.faults = Faults(silent=True)
        async with await here.running.wire() as wire:
            await wire.request("POST", EMBEDDINGS, {"model": "m", "input": "Hi"})
            await here.engines[1].until(lambda engine: engine.received > before)
        for engine in here.engines:
            await engine.until(lambda engine: engine.aborted >= 1)
        await here.settled()


@pytest.mark.parametrize("options", [{"hedge": False}, {"max_in_flight": 8, "hedge": False}])
async def test_no_second_replica_is_asked_where_that_is_switched_off(tmp_path: Path, options: dict[str, Any]) -> None:
    async with house(tmp_path, **options) as here:
        await here.next_is(0)
        here.engines[0].faults = Faults(delay=0.2)
        before = here.received[1]
        assert (await answer_to(here.running)).status == 200
        assert here.received[1] == before


async def test_what_generates_is_never_asked_twice(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        await here.next_is(0)
        here.engines[0].faults = Faults(delay=0.2)
        before = here.received[1]
        answer = await answer_to(
            here.running, "/v1/chat/completions", messages=[{"role": "user", "content": "Hi"}], max_tokens=1
        )
        assert (answer.status, here.received[1]) == (200, before)
