"""A second replica is asked where the first is late; the first answer wins, and the loser is told to stop."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from loadtest.simulator import SimulatedEngine
from loadtest.simulator.faults import Faults
from tests.kit.gateways import RunningGateway, gateway, remote
from tests.kit.wire import Response

pytestmark = pytest.mark.slow

EMBEDDINGS = "/v1/embeddings"


async def answer_to(running: RunningGateway, path: str = EMBEDDINGS, **fields: Any) -> Response:
    async with await running.wire() as wire:
        await wire.request("POST", path, {"model": "m", "input": "Hi", **fields})
        return await wire.response()


@dataclass
class GatewayInfo:
    """Replicas that take turns, and a gateway that knows how long they usually take."""

    engines: list[SimulatedEngine]
    running: RunningGateway

    @property
    def received(self) -> list[int]:
        return [engine.received for engine in self.engines]

    async def next_is(self, number: int) -> None:
        """Ask until it was the turn of the engine before, and no hedge took a turn of its own."""
        while True:
            before, hedged = self.received, await self.hedged()
            await answer_to(self.running)
            await self.running.gateway.idle()
            if self.received[number - 1] > before[number - 1] and await self.hedged() == hedged:
                return

    async def hedged(self) -> float:
        return value(await self.running.metrics(), 'headgate_upstream_aborts_total{model="m",reason="hedged"}')

    async def attempts(self, number: int, outcome: str) -> float:
        series = f'headgate_upstream_attempts_total{{model="m",outcome="{outcome}",replica="m-{number}"}}'
        return value(await self.running.metrics(), series)

    async def settled(self) -> str:
        await self.running.gateway.idle()
        assert "0 in flight, 0 queued" in repr(self.running)
        return await self.running.metrics()


@asynccontextmanager
async def house(
    tmp_path: Path, names: str = "ab", timeouts: dict[str, float] | None = None, **options: Any
) -> AsyncIterator[GatewayInfo]:
    async with AsyncExitStack() as stack:
        engines = [await stack.enter_async_context(SimulatedEngine("m", uds=tmp_path / name)) for name in names]
        model = remote(*(engine.address for engine in engines), policy="round_robin", **options)
        running = await stack.enter_async_context(gateway({"m": model}, timeouts=timeouts or {}))
        # Slow answers teach what is late; the quick ones behind them are not, and save up for what the test needs.
        for engine in engines:
            engine.faults = Faults(delay=0.02)
        assert {answer.status for answer in await asyncio.gather(*(answer_to(running) for _ in range(20)))} == {200}
        for engine in engines:
            engine.faults = Faults()
        for _ in range(40):
            assert (await answer_to(running)).status == 200
        yield GatewayInfo(engines, running)


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
        here.engines[0].faults = Faults(delay=0.6)
        here.engines[1].faults = Faults(silent=True)
        assert (await answer_to(here.running)).status == 200
        await here.engines[1].until(lambda engine: engine.aborted >= 1)
        await here.settled()


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (Faults(status=429), "ok"),
        (Faults(status=500), "failed"),
        (Faults(status=503), "full"),
        (Faults(garbage=True), "failed"),
    ],
)
async def test_a_second_replica_that_fails_leaves_it_to_the_first(tmp_path: Path, fault: Faults, outcome: str) -> None:
    async with house(tmp_path) as here:
        await here.next_is(0)
        before, counted = here.received[1], await here.attempts(1, outcome)
        here.engines[0].faults = Faults(delay=0.6)
        here.engines[1].faults = fault
        assert (await answer_to(here.running)).status == 200
        assert here.received[1] > before
        await here.settled()
        assert await here.attempts(1, outcome) == counted + 1


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_first_replica_that_fails_late_leaves_it_to_the_second(tmp_path: Path, status: int) -> None:
    async with house(tmp_path) as here:
        await here.next_is(0)
        before = here.received
        here.engines[0].faults = Faults(delay=0.4, status=status)
        here.engines[1].faults = Faults(delay=0.8)
        assert (await answer_to(here.running)).status == 200
        assert [now - then for now, then in zip(here.received, before, strict=True)] == [1, 1]
        await here.settled()


@pytest.mark.parametrize(
    ("status", "answered", "fault"),
    [(429, 429, Faults(status=500)), (500, 502, Faults(status=503)), (503, 503, Faults(garbage=True))],
)
async def test_where_both_fail_the_answer_is_what_the_first_said(
    tmp_path: Path, status: int, answered: int, fault: Faults
) -> None:
    async with house(tmp_path) as here:
        await here.next_is(0)
        before = here.received
        here.engines[0].faults = Faults(delay=0.4, status=status, error_body='{"error": {"message": "The first."}}')
        here.engines[1].faults = replace(fault, delay=0.8)
        answer = await answer_to(here.running)
        assert (answer.status, answer.json["error"]["message"]) == (answered, "The first.")
        assert [now - then for now, then in zip(here.received, before, strict=True)] == [1, 1]
        await here.settled()


@pytest.mark.parametrize("status", [429, 503])
async def test_where_the_second_is_silent_the_answer_is_what_the_first_said(tmp_path: Path, status: int) -> None:
    async with house(tmp_path, timeouts={"first_byte": 1.0}) as here:
        await here.next_is(0)
        here.engines[0].faults = Faults(delay=0.4, status=status)
        here.engines[1].faults = Faults(silent=True)
        assert (await answer_to(here.running)).status == status
        await here.engines[1].until(lambda engine: engine.aborted >= 1)
        await here.settled()


@pytest.mark.parametrize(("status", "answered", "asked"), [(429, 429, 0), (500, 502, 0), (503, 200, 1)])
async def test_a_third_replica_is_asked_only_if_the_first_was_full(
    tmp_path: Path, status: int, answered: int, asked: int
) -> None:
    async with house(tmp_path, "abc") as here:
        await here.next_is(0)
        before = here.received
        here.engines[0].faults = Faults(delay=0.4, status=status)
        here.engines[1].faults = Faults(delay=0.8, status=503)
        assert (await answer_to(here.running)).status == answered
        assert [now - then for now, then in zip(here.received, before, strict=True)] == [1, 1, asked]
        await here.settled()


@pytest.mark.parametrize(("status", "answered"), [(429, 429), (500, 502)])
async def test_an_error_that_comes_before_a_hedge_is_the_answer(tmp_path: Path, status: int, answered: int) -> None:
    async with house(tmp_path) as here:
        await here.next_is(0)
        before = here.received[1]
        here.engines[0].faults = Faults(status=status)
        assert (await answer_to(here.running)).status == answered
        assert here.received[1] == before
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
