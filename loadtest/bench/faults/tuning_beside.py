"""What a request for a class waits beside a fine-tuning job that trains on all cores, and what it waits alone."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from loadtest import workload
from loadtest.bench.faults.serving import serving
from loadtest.bench.faults.tuning_job import BASE, JOBS, configuration, json_of, order
from loadtest.bench.onnx.latency import one_by_one
from loadtest.http_client import HttpClient
from loadtest.summary import percentile
from loadtest.workload import Request

_CLASSIFIER = "prompt-guard"
_WORDS = 20
_POLL_SECONDS = 0.2

_BUDGET_SECONDS = 600.0
"""More than a job is let train: it is cancelled when all has been asked, however slow the machine is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BesideSettings:
    """How often both are measured, in turns, and how many seconds each time."""

    rounds: int = 3
    seconds: float = 15.0


async def measure(log: Callable[[str], None], settings: BesideSettings | None = None) -> Mapping[str, Any]:
    """Ask the default classifier for one text after the other: medians of the rounds, in ms."""
    settings = settings or BesideSettings()
    text = " ".join(workload.text(_WORDS, 0).split()[:_WORDS])
    request = workload.classification(_CLASSIFIER, text, 0, stream=False)
    found: dict[str, list[tuple[float, float]]] = {"alone": [], "beside": []}
    with tempfile.TemporaryDirectory(prefix="hg-bench-") as folder:
        configured = configuration(Path(folder), _CLASSIFIER, BASE)
        async with serving(configured) as gateway, HttpClient(gateway.address, timeout=60.0) as client:
            for number in range(settings.rounds):
                found["alone"].append(await _asked(gateway.address, request, settings.seconds))
                job = await order(client, time_budget=_BUDGET_SECONDS, n_epochs=1000)
                await _until_it_trains(client, job["id"])
                found["beside"].append(await _asked(gateway.address, request, settings.seconds))
                await json_of(client.post(f"{JOBS}/{job['id']}/cancel", b""))
                log(f"round {number + 1}: p50 and p99 in ms {found['alone'][-1]} alone, {found['beside'][-1]} beside")
    alone, beside = ([round(median(each), 1) for each in zip(*found[name], strict=True)] for name in found)
    return {
        "alone_p50_ms": alone[0],
        "alone_p99_ms": alone[1],
        "beside_p50_ms": beside[0],
        "beside_p99_ms": beside[1],
        "p99_times": round(beside[1] / alone[1], 2),
    }


async def _asked(address: str, request: Request, seconds: float) -> tuple[float, float]:
    """Ask for a while, one request after the other; return the median and the p99 in ms."""
    took = [1000 * each for each in await asyncio.to_thread(one_by_one, address, request, seconds)]
    return round(median(took), 1), round(percentile(took, 99), 1)


async def _until_it_trains(client: HttpClient, job_id: str) -> None:
    """Wait for the first steps of a job."""
    while True:
        events = (await json_of(client.get(f"{JOBS}/{job_id}/events")))["data"]
        if any(event["message"].startswith("Step ") for event in events):
            return
        await asyncio.sleep(_POLL_SECONDS)
