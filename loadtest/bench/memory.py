"""What a connection keeps in memory while nothing happens on it, and while a stream runs on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from loadtest.bench.clients import ClientPool
from loadtest.bench.deployment import DeploymentSpec, deployed, instant_engine
from loadtest.bench.scaling import GatewayLoad
from loadtest.bench.stream_clients import StreamClients

IDLE_LIMIT = 16 * 1024
STREAM_LIMIT = 48 * 1024
"""In bytes of the gateway's resident memory."""

_PACE = 1.0
_EVENTS = 3600


async def measure(*, idle: int, streams: int, log: Callable[[str], None]) -> dict[str, Any]:
    """Measure ``idle`` connections, before and after a request each, and ``streams`` open streams."""
    spec = DeploymentSpec()
    async with instant_engine(pace=_PACE) as engine, deployed(spec, engine) as gateway:
        # What is allocated once, with the first connections, is not theirs.
        warm = ClientPool(gateway.address)
        await warm.open(GatewayLoad(connections=100).requests("bench"))
        await warm.send_once()
        await warm.run_busy(32, 0.2)
        await warm.close()
        await asyncio.sleep(0.5)

        clients = ClientPool(gateway.address)
        before = gateway.resident_bytes
        await clients.open(GatewayLoad(connections=idle).requests("bench"))
        await asyncio.sleep(0.5)
        fresh = (gateway.resident_bytes - before) / idle
        await clients.send_once()
        await asyncio.sleep(0.5)
        used = (gateway.resident_bytes - before) / idle
        log(f"memory: {fresh / 1024:.1f} KiB per fresh connection, {used / 1024:.1f} after a request")
        failed = clients.tally.failed
        await clients.close()
    async with instant_engine(pace=_PACE) as engine, deployed(spec, engine) as gateway:
        stream_clients = StreamClients(gateway.address, spec, events=_EVENTS, pace=_PACE)
        await stream_clients.open(min(100, streams))
        await stream_clients.close()
        await asyncio.sleep(0.5)
        before = gateway.resident_bytes
        await stream_clients.open(streams)
        await stream_clients.until_all_have(2)
        open_stream = (gateway.resident_bytes - before) / streams
        log(f"memory: {open_stream / 1024:.1f} KiB per open stream")
        failed += stream_clients.tally.failed
        await stream_clients.close()
    return {
        "failed": failed,
        "rows": [
            _row("a connection before its first request", idle, fresh, IDLE_LIMIT),
            _row("an idle connection after a request", idle, used, IDLE_LIMIT),
            _row("an open stream, with its connection to the engine", streams, open_stream, STREAM_LIMIT),
        ],
    }


def table(found: Mapping[str, Any]) -> str:
    """Write a row for each kind of connection, in Markdown."""
    lines = ["| | measured with | KiB each | at most |", "|---|--:|--:|--:|"]
    for row in found["rows"]:
        each, limit = row["bytes_each"] / 1024, row["limit"] / 1024
        lines.append(f"| {row['what']} | {row['number']:,} | {each:.1f} | {limit:.0f} |")
    return "\n".join(lines)


def misses(found: Mapping[str, Any]) -> list[str]:
    """Return the rows that are over their limits, in words."""
    return [
        f"{row['what']}: {row['bytes_each'] / 1024:.1f} KiB, at most {row['limit'] / 1024:.0f} are allowed"
        for row in found["rows"]
        if row["bytes_each"] > row["limit"]
    ]


def _row(what: str, number: int, each: float, limit: int) -> dict[str, Any]:
    return {"what": what, "number": number, "bytes_each": round(each), "limit": limit}
