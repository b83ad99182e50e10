"""How long requests still fail after the last fault, whatever the load is."""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtest import arrivals, workload
from loadtest.bench.faults.serving import outcomes, serving
from loadtest.load import Load
from loadtest.simulator import SimulatedEngine
from loadtest.simulator.batch import Timing
from loadtest.simulator.faults import NO_FAULTS, Cut, Faults

_MODEL = "m"
_FAULTS = Faults(
    mix=(
        Faults(probability=0.05, status=500),
        Faults(probability=0.05, status=503),
        Faults(probability=0.05, garbage=True),
        Faults(probability=0.05, cut_after=2, cut=Cut.RESET),
        Faults(probability=0.05, hang_after=1),
        Faults(probability=0.05, silent=True),
        Faults(probability=0.02, crash_after=1),
    )
)
"""What a third of the requests suffer at each engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoverySettings:
    """How many replicas, under how many requests per second; for how long with faults, and for how long after them."""

    replicas: int = 4
    rate: float = 50.0
    faulty_seconds: float = 8.0
    seconds_after: float = 10.0
    rounds: int = 3


async def measure(log: Callable[[str], None], settings: RecoverySettings | None = None) -> Mapping[str, Any]:
    """Let engines fail in every way and be down at the end, then mend all; return how long requests went on to fail."""
    settings = settings or RecoverySettings()
    found: list[dict[str, Any]] = []
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hg-bench-")))
        timing = Timing(ttft=0.005, inter_token=0.005)
        engines = [
            await stack.enter_async_context(SimulatedEngine(_MODEL, uds=folder / f"{n}", timing=timing, seed=n))
            for n in range(settings.replicas)
        ]
        gateway = await stack.enter_async_context(serving(_configuration(engines)))
        for number in range(settings.rounds):
            found.append(await _round(gateway.address, engines, settings))
            log(f"round {number + 1}: {found[-1]}")
            await gateway.until(_MODEL, lambda replicas: all(each["ready"] for each in replicas))
    return {"seconds": max(each["seconds"] for each in found), "rounds": found}


async def _round(address: str, engines: list[SimulatedEngine], settings: RecoverySettings) -> dict[str, Any]:
    load = Load(address, timeout=30.0)
    requests = [
        workload.chat(_MODEL, f"Tell me a story, number {number}.", 10, stream=number % 2 == 0) for number in range(50)
    ]
    moments = arrivals.poisson(settings.rate, settings.faulty_seconds + settings.seconds_after, seed=1)
    began = load.now
    asking = asyncio.create_task(load.open_loop(requests, moments))
    draw = random.Random(1)  # noqa: S311 - reproducible faults, nothing secret
    for engine in engines:
        engine.faults = _FAULTS
    while load.now < began + settings.faulty_seconds:
        await asyncio.sleep(0.2)
        for engine in engines:
            if not engine.listening and draw.random() < 0.3:
                await engine.restart()
    # The last fault: every engine dies, and comes back.
    for engine in engines:
        engine.crash()
        engine.faults = NO_FAULTS
    for engine in engines:
        await engine.restart()
    mended = load.now
    await asking
    load.close()
    after = [record for record in load.records if record.sent is not None and record.sent > mended]
    failed = [record for record in after if not record.succeeded]
    last = max((record.sent or 0.0 for record in failed), default=mended)
    return {
        "seconds": round(last - mended, 3),
        "after": outcomes(after),
        "before": outcomes([record for record in load.records if record not in after]),
    }


def _configuration(engines: list[SimulatedEngine]) -> str:
    urls = json.dumps([engine.address for engine in engines])
    return (
        '[gateway]\naccess_log = "off"\n[gateway.timeouts]\nfirst_byte = 5.0\nbetween_bytes = 5.0\n'
        f'[models.{_MODEL}]\nengine = "remote"\nurls = {urls}\nrecovery = true\n'
        "max_in_flight = 256\n"
    )
