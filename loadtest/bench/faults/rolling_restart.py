"""What clients feel while each replica of a model is restarted, one after the other: announced, or killed."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtest import arrivals, workload
from loadtest.bench.faults.serving import ServedGateway, outcomes, serving
from loadtest.load import Load
from loadtest.simulator import SimulatedEngine
from loadtest.simulator.batch import Timing

_MODEL = "m"
_DOWN_SECONDS = 0.5
_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class RollingSettings:
    """How many replicas, and under which load: requests per second, of so many tokens each."""

    replicas: int = 8
    rate: float = 100.0
    tokens: int = 20
    pace: float = 0.02
    """Seconds from one token to the next."""


async def measure(log: Callable[[str], None], settings: RollingSettings | None = None) -> Mapping[str, Any]:
    """Restart all replicas once for each way, and count what became of the requests."""
    settings = settings or RollingSettings()
    found: dict[str, Any] = {}
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hg-bench-")))
        timing = Timing(ttft=settings.pace, inter_token=settings.pace)
        engines = [
            await stack.enter_async_context(SimulatedEngine(_MODEL, uds=folder / f"{number}", timing=timing))
            for number in range(settings.replicas)
        ]
        gateway = await stack.enter_async_context(serving(_configuration(engines)))
        for name, restart in (("announced", _announced), ("killed", _killed)):
            found[name] = await _under_load(gateway, engines, restart, settings)
            log(f"{name}: {found[name]}")
    return found


Restart = Callable[[ServedGateway, Sequence[SimulatedEngine], SimulatedEngine], Awaitable[None]]


async def _under_load(
    gateway: ServedGateway, engines: Sequence[SimulatedEngine], restart: Restart, settings: RollingSettings
) -> dict[str, Any]:
    """Restart one replica after the other while requests come, half of them for streams."""
    load = Load(gateway.address)
    requests = [
        workload.chat(_MODEL, f"Tell me a story, number {number}.", settings.tokens, stream=number % 2 == 0)
        for number in range(50)
    ]
    moments = arrivals.poisson(settings.rate, 600.0, seed=1)
    asking = asyncio.create_task(load.open_loop(requests, moments))
    began = load.now
    for engine in engines:
        await restart(gateway, engines, engine)
    seconds = load.now - began
    # Those that were sent come to their end; what is sent meanwhile does not count.
    counted = list(load.records)
    while any(record.ended is None for record in counted):  # noqa: ASYNC110 - a record tells nobody
        await asyncio.sleep(_POLL_SECONDS)
    load.stop()
    await asking
    load.close()
    return {
        "seconds": round(seconds, 1),
        "requests": len(counted),
        "failed": sum(not record.succeeded for record in counted),
        "outcomes": outcomes(counted),
    }


async def _announced(gateway: ServedGateway, engines: Sequence[SimulatedEngine], restarted: SimulatedEngine) -> None:
    """Take a replica out of the configuration, restart it when nothing is left to do there, and bring it back."""
    await gateway.reconfigure(_configuration([engine for engine in engines if engine is not restarted]))
    await restarted.until(lambda engine: engine.running + engine.waiting == 0, timeout=60)
    await _restart(restarted)
    await gateway.reconfigure(_configuration(engines))
    await gateway.until(_MODEL, lambda replicas: all(each["ready"] for each in replicas))


async def _killed(gateway: ServedGateway, _engines: Sequence[SimulatedEngine], restarted: SimulatedEngine) -> None:
    """Kill a replica in the middle of its work, and start it again."""
    await _restart(restarted)
    await gateway.until(_MODEL, lambda replicas: all(each["ready"] for each in replicas))


async def _restart(engine: SimulatedEngine) -> None:
    engine.crash()
    await asyncio.sleep(_DOWN_SECONDS)
    await engine.restart()


def _configuration(engines: Sequence[SimulatedEngine]) -> str:
    urls = json.dumps([engine.address for engine in engines])
    return (
        f'[gateway]\naccess_log = "off"\n[models.{_MODEL}]\nengine = "remote"\nurls = {urls}\n'
        "health_interval = 0.2\nrecovery = true\n"
    )
