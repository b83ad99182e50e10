"""What clients feel when the core of a real vLLM is killed: without ``hold``, with it, and with a second replica."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtest import arrivals, workload
from loadtest.bench.faults.serving import ServedGateway, outcomes, serving
from loadtest.bench.launch import ROOT
from loadtest.bench.process_usage import tree
from loadtest.load import Load

_MODEL = "smollm2-135m"
_CORE = "VLLM::"
"""How the name of the process begins that computes; the server is another one."""

_PATIENCE = 900.0
"""Seconds that a client waits: on a busy machine an engine takes minutes to come back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreSettings:
    """The load, in requests per second and tokens each, and when it loses the core; all times in seconds."""

    rate: float = 2.0
    tokens: int = 16
    seconds: float = 60.0
    killed_at: float = 10.0


CASES: Mapping[str, Mapping[str, float]] = {
    "one replica, hold = 0": {"replicas": 1, "hold": 0.0},
    "one replica, hold = 600": {"replicas": 1, "hold": 600.0},
    "two replicas": {"replicas": 2, "hold": 600.0},
}


class NoCore(Exception):
    """There is no process of vLLM's core below the gateway."""


async def measure(log: Callable[[str], None], settings: CoreSettings | None = None) -> Mapping[str, Any]:
    """Measure each case; a replica takes 2 GB, and about a minute to start."""
    settings = settings or CoreSettings()
    found: dict[str, Any] = {}
    for name, options in CASES.items():
        async with serving(configuration(replicas=int(options["replicas"]), hold=options["hold"])) as gateway:
            await gateway.until(_MODEL, lambda replicas: all(each["ready"] for each in replicas))
            found[name] = await _under_load(gateway, settings)
        log(f"{name}: {found[name]}")
    return found


def configuration(*, replicas: int, hold: float) -> str:
    """Write a configuration of the language model of ``models.toml`` alone, with so many replicas."""
    text = (ROOT / "models.toml").read_text().split("[models.prompt-guard]")[0]
    beginning = f'[models.{_MODEL}]\nengine = "vllm"\n'
    assert beginning in text
    return '[gateway]\naccess_log = "off"\n' + text.replace(
        beginning, f"{beginning}replicas = {replicas}\nlimits.hold = {hold}\nlimits.queue_timeout = 600.0\n"
    )


def core_below(pid: int) -> int:
    """Find the process of a vLLM's core among those that a gateway has started. Raises ``NoCore``."""
    for each in tree(pid):
        try:
            name = Path(f"/proc/{each}/comm").read_text()
        except OSError:
            continue  # It has ended meanwhile.
        if name.startswith(_CORE):
            return each
    raise NoCore(f"no process below {pid} is called {_CORE}…")


async def _under_load(gateway: ServedGateway, settings: CoreSettings) -> dict[str, Any]:
    """Send requests, half of them for streams, kill a core among them, and count what became of them."""
    load = Load(gateway.address, timeout=_PATIENCE)
    requests = [
        workload.chat(_MODEL, f"Tell me a story, number {number}.", settings.tokens, stream=number % 2 == 0)
        for number in range(20)
    ]
    began = load.now
    asking = asyncio.create_task(load.open_loop(requests, arrivals.poisson(settings.rate, settings.seconds, seed=1)))
    await asyncio.sleep(settings.killed_at)
    under_way = load.under_way
    os.kill(core_below(gateway.pid), signal.SIGKILL)
    killed = load.now
    await gateway.until(_MODEL, lambda replicas: not all(each["ready"] for each in replicas))
    await gateway.until(_MODEL, lambda replicas: all(each["ready"] for each in replicas))
    back = load.now
    await asking
    load.close()
    failed = [record for record in load.records if not record.succeeded]
    return {
        "requests": len(load.records),
        "under_way_when_killed": under_way,
        "failed": len(failed),
        "failed_that_came_later": sum((record.sent or 0.0) > killed for record in failed),
        "seconds_until_ready": round(back - killed, 1),
        "seconds_before": round(killed - began, 1),
        "slowest_seconds": round(max((record.e2e or 0.0) for record in load.records), 1),
        "outcomes": outcomes(load.records),
    }
