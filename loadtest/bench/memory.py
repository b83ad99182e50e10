"""What a connection keeps in memory while nothing happens on it, and while a stream runs on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from loadtest.bench.audience import Audience
from loadtest.bench.crowd import Crowd
from loadtest.bench.curves import Shape
from loadtest.bench.deployment import Plan, deployed, instant_engine

IDLE_LIMIT = 16 * 1024
STREAM_LIMIT = 48 * 1024
"""In bytes of the gateway's resident memory."""

_PACE = 1.0
_EVENTS = 3600


async def measure(*, idle: int, streams: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Measure ``idle`` connections, before and after a request each, and ``streams`` open streams."""
    plan = Plan()
    async with instant_engine(pace=_PACE) as engine, deployed(plan, engine) as gateway:
        # What the first connections bring along is not theirs.
        warm = Crowd(gateway.address)
        await warm.open(Shape(connections=100).requests("bench"))
        await warm.ask_once()
        await warm.ask_busily(32, 0.2)
        await warm.close()
        await asyncio.sleep(0.5)

        crowd = Crowd(gateway.address)
        before = gateway.resident_bytes
        await crowd.open(Shape(connections=idle).requests("bench"))
        await asyncio.sleep(0.5)
        fresh = (gateway.resident_bytes - before) / idle
        await crowd.ask_once()
        await asyncio.sleep(0.5)
        used = (gateway.resident_bytes - before) / idle
        tell(f"memory: {fresh / 1024:.1f} KiB per fresh connection, {used / 1024:.1f} after a request")
        failed = crowd.tally.failed
        await crowd.close()
    async with instant_engine(pace=_PACE) as engine, deployed(plan, engine) as gateway:
        audience = Audience(gateway.address, plan, events=_EVENTS, pace=_PACE)
        await audience.open(min(100, streams))
        await audience.close()
        await asyncio.sleep(0.5)
        before = gateway.resident_bytes
        await audience.open(streams)
        await audience.until_all_have(2)
        open_stream = (gateway.resident_bytes - before) / streams
        tell(f"memory: {open_stream / 1024:.1f} KiB per open stream")
        failed += audience.record.failed
        await audience.close()
    return {
        "failed": failed,
        "rows": [
            _row("a connection before its first request", idle, fresh, IDLE_LIMIT),
            _row("an idle connection after a request", idle, used, IDLE_LIMIT),
            _row("an open stream, with its connection to the engine", streams, open_stream, STREAM_LIMIT),
        ],
    }


def _row(what: str, number: int, each: float, limit: int) -> dict[str, Any]:
    return {"what": what, "number": number, "bytes_each": round(each), "limit": limit}
