"""Two gateways share the limits of keys through a real Redis, which is killed, hangs, and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from gateway.shared_limits import sharing
from loadtest.simulator import SimulatedEngine
from tests.kit.gateways import RunningGateway, gateway, remote
from tests.kit.redis_server import RedisServer, needs_redis
from tests.kit.wire import Response, Wire

pytestmark = [pytest.mark.slow, needs_redis]

LIMIT = 40


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no Redis be taken for one that hangs because the machine is slow: each node would count by itself then."""
    monkeypatch.setattr(sharing, "_ANSWER_SECONDS", 3.0)


@asynccontextmanager
async def node(engine: SimulatedEngine, redis: RedisServer, *, processes: int = 1) -> AsyncIterator[RunningGateway]:
    key = {"id": "alice", "sha256": sha256(b"sk").hexdigest(), "limits": {"requests_per_day": LIMIT}}
    model = remote(engine.address)
    async with gateway({"m": model}, keys=[key], processes=processes, redis={"url": redis.url}) as running:
        yield running


async def asked(wire: Wire) -> Response:
    body = {"model": "m", "prompt": "a", "max_tokens": 1}
    await wire.request("POST", "/v1/completions", body, {"authorization": "Bearer sk"})
    return await wire.response()


async def granted(nodes: list[RunningGateway], requests: int, *, every: float = 0.02) -> int:
    """Ask the nodes in turns, and count what they grant."""
    total = 0
    wires = [await running.wire() for running in nodes]
    for number in range(requests):
        total += (await asked(wires[number % len(wires)])).status == 200
        await asyncio.sleep(every)
    for wire in wires:
        await wire.close()
    return total


async def all_granted(nodes: list[RunningGateway], total: int, least: int) -> int:
    """Ask until so much was granted at least, as a node may have to lease it first; then for all of the limit again."""
    async with asyncio.timeout(60):
        while total < least:
            total += await granted(nodes, 2)
    return total + await granted(nodes, LIMIT)


async def shared(running: RunningGateway) -> float:
    [line] = [line for line in (await running.metrics()).splitlines() if line.startswith("headgate_limits_shared ")]
    return float(line.split()[1])


async def until_shared(running: RunningGateway, value: float) -> None:
    async with asyncio.timeout(60):
        while await shared(running) != value:  # noqa: ASYNC110 - It is another process that is waited for.
            await asyncio.sleep(0.02)


async def test_two_gateways_grant_the_limit_together_and_a_restart_forgets_nothing(tmp_path: Path) -> None:
    async with (
        RedisServer(tmp_path) as redis,
        SimulatedEngine("m", uds=tmp_path / "e") as engine,
        node(engine, redis, processes=2) as one,
    ):
        async with node(engine, redis) as other:
            assert await all_granted([one, other], 0, LIMIT) == LIMIT
        async with node(engine, redis) as again:
            assert await granted([again], 3) == 0


async def test_requests_do_not_notice_a_redis_that_is_killed_or_hangs(tmp_path: Path) -> None:
    async with (
        RedisServer(tmp_path) as redis,
        SimulatedEngine("m", uds=tmp_path / "e") as engine,
        node(engine, redis, processes=2) as one,
        node(engine, redis) as other,
    ):
        total = await granted([one, other], 10)
        redis.kill()
        await until_shared(one, 0.0)
        total += await granted([one, other], 6)
        await redis.start()
        await until_shared(one, 1.0)
        await until_shared(other, 1.0)
        total += await granted([one, other], 4)
        assert total == 20
        redis.pause()
        await until_shared(one, 0.0)
        total += await granted([one, other], 4)
        redis.resume()
        await until_shared(one, 1.0)
        await until_shared(other, 1.0)
        total = await all_granted([one, other], total, LIMIT - 1)
        # A Redis that has forgotten everything is not told what one node granted last, which the other had not heard.
        assert total <= LIMIT + 10
