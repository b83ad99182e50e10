"""Closed-loop load on a server of the benchmark, and how its latencies are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from loadtest.bench.launch import Server
from loadtest.load import Load
from loadtest.summary import summarise
from loadtest.workload import Request

_WARM_UP_SECONDS = 2.0


async def closed_loop(
    servers: Sequence[Server], requests: Sequence[Request], clients: int, seconds: float
) -> tuple[dict[str, Any], float]:
    """Let clients send without a pause to the first of some servers, after a short warm-up.

    Returns the summary, and the processor time in seconds that all of the servers used.
    """
    load = Load(servers[0].address)
    try:
        await load.closed_loop(requests, clients, min(_WARM_UP_SECONDS, seconds / 5))
        load.records.clear()
        load.cpu_seconds = 0.0
        used = sum(server.cpu_seconds for server in servers)
        await load.closed_loop(requests, clients, seconds)
        used = sum(server.cpu_seconds for server in servers) - used
    finally:
        load.close()
    return summarise(load.records, cpu_seconds=load.cpu_seconds), used


def percentile_ms(found: Mapping[str, Any], percent: int) -> str:
    """Write a percentile of the end-to-end time; there is none where no request succeeded."""
    value = found.get(f"p{percent}_e2el_ms")
    return "none" if value is None else f"{value:.0f} ms"
