"""What a tenant feels of another that sends a hundred times its share: its time to the first token, beside alone."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from loadtest import arrivals, workload
from loadtest.bench.faults.serving import outcomes, serving
from loadtest.load import Load
from loadtest.record import Record
from loadtest.simulator import SimulatedEngine
from loadtest.simulator.batch import Timing
from loadtest.summary import percentile
from loadtest.svg.bar_chart import bar_chart
from loadtest.svg.drawing import Drawing

_MODEL = "m"
_QUIET, _LOUD = "quiet", "loud"

_MOST = 1.5
"""So many times its p99 alone the quiet tenant's TTFT may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FairnessSettings:
    """The engines and the load; all times in seconds.

    Engines keep their pace however many requests run, so that what a tenant feels of the other is the gateway's doing.
    """

    processes: tuple[int, ...] = (1, 2)
    """Of the gateway, one number after the other."""
    engines: int = 4
    slots: int = 128
    """Of all engines together."""
    max_queue: int = 256
    ttft: float = 4.0
    inter_token: float = 0.2
    tokens: tuple[int, int] = (21, 101)
    """Of responses, fewest and most, all as likely: if they were alike, slots would become free many at a time."""
    times: float = 100.0
    """How many times its share the loud tenant sends."""
    used: float = 0.5
    """How much of its own share the quiet one sends."""
    warm_up: float = 30.0
    seconds: float = 60.0

    @property
    def share(self) -> float:
        """Requests a second that each of two tenants gets if both want more."""
        duration = self.ttft + self.inter_token * (sum(self.tokens) / 2 - 1)
        return self.slots / duration / 2


async def measure(log: Callable[[str], None], settings: FairnessSettings | None = None) -> dict[str, Any]:
    """Measure the quiet tenant alone and beside the loud one, for each number of gateway processes."""
    settings = settings or FairnessSettings()
    runs = []
    for processes in settings.processes:
        for loud in (False, True):
            runs.append({"processes": processes, "loud": loud, **await _run(processes, settings, loud=loud)})
            log(f"fairness: {runs[-1]}")
    return {"share": settings.share, "times": settings.times, "slots": settings.slots, "runs": runs}


async def _run(processes: int, settings: FairnessSettings, *, loud: bool) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        timing = Timing(ttft=settings.ttft, inter_token=settings.inter_token)
        engines = [
            await stack.enter_async_context(SimulatedEngine(_MODEL, timing=timing, recorded=0))
            for _ in range(settings.engines)
        ]
        gateway = await stack.enter_async_context(serving(_configuration(engines, settings, processes)))
        quiet = Load(gateway.address, key=f"sk-{_QUIET}")
        stack.callback(quiet.close)
        other = Load(gateway.address, key=f"sk-{_LOUD}")
        stack.callback(other.close)
        total = settings.warm_up + settings.seconds
        rate = settings.times * settings.share if loud else 0.0
        flooding = asyncio.create_task(other.open_loop(_requests(settings, 2), arrivals.constant(rate, total)))
        await asyncio.sleep(settings.warm_up)
        moments = arrivals.poisson(settings.used * settings.share, settings.seconds, seed=1)
        await quiet.open_loop(_requests(settings, 1), moments)
        other.stop()
        await flooding
    times = [1000 * record.ttft for record in quiet.records if record.succeeded and record.ttft is not None]
    return {
        "requests": len(quiet.records),
        "outcomes": outcomes(quiet.records),
        "p50_ttft_ms": round(percentile(times, 50)),
        "p99_ttft_ms": round(percentile(times, 99)),
        "others": len(other.records),
        "others_served": sum(record.succeeded for record in other.records),
        "p99_lateness_ms": round(1000 * percentile(_lateness(quiet.records), 99), 1),
    }


def _lateness(records: Sequence[Record]) -> list[float]:
    return [record.lateness for record in records]


def _requests(settings: FairnessSettings, seed: int) -> list[workload.Request]:
    draw = random.Random(seed)  # noqa: S311 - a reproducible load, nothing secret
    return [workload.chat(_MODEL, "Tell me a story.", draw.randint(*settings.tokens), stream=True) for _ in range(1000)]


def _configuration(engines: Sequence[SimulatedEngine], settings: FairnessSettings, processes: int) -> str:
    urls = json.dumps([engine.address for engine in engines])
    keys = "".join(
        f'[[gateway.keys]]\nid = "{each}"\nsha256 = "{sha256(f"sk-{each}".encode()).hexdigest()}"\n'
        for each in (_QUIET, _LOUD)
    )
    return (
        f'[gateway]\naccess_log = "off"\nprocesses = {processes}\n{keys}[models.{_MODEL}]\nengine = "remote"\n'
        f'urls = {urls}\ntasks = ["generate"]\nlimits.max_in_flight = {settings.slots}\n'
        f"limits.max_queue = {settings.max_queue}\nlimits.queue_timeout = 60.0\n"
    )


def table(found: Mapping[str, Any]) -> str:
    """Write a row for each run, in Markdown."""
    lines = [
        f"| gateway processes | beside a tenant with {found['times']:g} times its share | TTFT p50, ms | p99, ms | "
        "times alone | refused or failed | served of the other tenant's requests |",
        "|--:|---|--:|--:|--:|--:|--:|",
    ]
    for run in found["runs"]:
        failed = sum(number for outcome, number in run["outcomes"].items() if outcome != "ok")
        lines.append(
            f"| {run['processes']} | {'yes' if run['loud'] else 'no'} | {run['p50_ttft_ms']:,} | "
            f"{run['p99_ttft_ms']:,} | {_times_alone(found, run):.2f} | {failed} of {run['requests']} | "
            f"{run['others_served']:,} of {run['others']:,} |"
        )
    return "\n".join(lines)


def chart(found: Mapping[str, Any]) -> Drawing:
    """Draw the TTFT p99 of each run."""
    panels = [
        (
            f"TTFT p99 in s, {processes} gateway process{'es' if processes > 1 else ''}",
            [
                ("beside the other" if run["loud"] else "alone", run["p99_ttft_ms"] / 1000)
                for run in found["runs"]
                if run["processes"] == processes
            ],
        )
        for processes in sorted({run["processes"] for run in found["runs"]})
    ]
    return bar_chart(f"A tenant beside one that sends {found['times']:g} times its share", panels, "beside the other")


def misses(found: Mapping[str, Any]) -> list[str]:
    """Name what the quiet tenant felt too much."""
    missed = []
    for run in found["runs"]:
        where = f"fairness, {run['processes']} processes"
        failed = sum(number for outcome, number in run["outcomes"].items() if outcome != "ok")
        if failed:
            missed.append(f"{where}: {failed} of {run['requests']} requests were not served")
        if _times_alone(found, run) > _MOST:
            missed.append(f"{where}: TTFT p99 is {_times_alone(found, run):.2f} times alone, at most {_MOST} wanted")
    return missed


def _times_alone(found: Mapping[str, Any], run: Mapping[str, Any]) -> float:
    alone = next(each for each in found["runs"] if each["processes"] == run["processes"] and not each["loud"])
    times: float = run["p99_ttft_ms"] / alone["p99_ttft_ms"]
    return times
