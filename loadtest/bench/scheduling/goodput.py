"""What is served at and far above what the engines can do, to clients who come back when they are told to."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from loadtest import arrivals, workload
from loadtest.bench.faults.serving import ServedGateway, serving
from loadtest.load import Load
from loadtest.record import Record
from loadtest.simulator import SimulatedEngine
from loadtest.simulator.profile import PROFILES
from loadtest.svg.bar_chart import bar_chart
from loadtest.svg.drawing import Drawing

_MODEL = "m"
_PROFILE = "gpu-8b"

_PROMPTS = 4000
"""More than the clients of one run."""

_LEAST = 0.95
"""Of the peak, at each load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoodputSettings:
    """The engines, the limits of the gateway, and the loads in times the knee; all times in seconds."""

    engines: int = 4
    slowdown: float = 20.0
    """How many times as slow as the profile's machine: a step takes long against the noise of the machine that is
    measured on."""
    slots: int = 64
    max_queue: int = 64
    prompt: int = 200
    tokens: tuple[int, ...] = (8, 12, 16, 20, 24)
    """Of responses, in turn."""
    within: float = 20.0
    """How long a client waits for a response (``x-request-timeout-ms``); what comes later is no good to it."""
    knee_seconds: float = 25.0
    settled: float = 6.0
    """How long from the beginning of a load until it is counted."""
    seconds: Mapping[float, float] | None = None
    """For how long clients come, by load."""

    @property
    def loads(self) -> Mapping[float, float]:
        """For how long clients come at each load: shortly at a high one, because all of them are served in the end."""
        return self.seconds or {1.0: 36.0, 1.5: 36.0, 3.0: 26.0, 10.0: 16.0}


async def measure(log: Callable[[str], None], settings: GoodputSettings | None = None) -> dict[str, Any]:
    """Find the knee, where all slots are taken and nobody waits; then put on so many times as much."""
    settings = settings or GoodputSettings()
    profile = PROFILES[_PROFILE].faster(1 / settings.slowdown)
    async with AsyncExitStack() as stack:
        engines = [
            await stack.enter_async_context(SimulatedEngine(_MODEL, profile=profile, recorded=0))
            for _ in range(settings.engines)
        ]
        gateway = await stack.enter_async_context(serving(_configuration(engines, settings)))
        knee = await _knee(gateway, settings)
        log(f"goodput: the knee is at {knee:.1f} requests/s")
        runs = []
        for times, seconds in settings.loads.items():
            runs.append({"times": times, **await _run(gateway, settings, knee * times, seconds)})
            log(f"goodput: {runs[-1]}")
    peak = max(knee, *(run["goodput"] for run in runs))
    return {
        "profile": _PROFILE,
        "slowdown": settings.slowdown,
        "engines": settings.engines,
        "slots": settings.slots,
        "max_queue": settings.max_queue,
        "within": settings.within,
        "knee": round(knee, 2),
        "peak": round(peak, 2),
        "runs": runs,
    }


async def _knee(gateway: ServedGateway, settings: GoodputSettings) -> float:
    requests = _requests(settings, "knee")
    # The clock of a load begins with its making.
    load = Load(gateway.address)
    await load.closed_loop(requests, settings.slots, settings.knee_seconds)
    load.close()
    return _per_second(load.records, settings, settings.settled, settings.knee_seconds)


async def _run(gateway: ServedGateway, settings: GoodputSettings, rate: float, seconds: float) -> dict[str, Any]:
    """Let clients come for some time, and wait until the last of them has been served."""
    patience = ("x-request-timeout-ms", str(round(1000 * settings.within)))
    requests = _requests(settings, f"{rate}")
    load = Load(gateway.address, headers=[patience], retries=True)
    await load.open_loop(requests, arrivals.poisson(rate, seconds, seed=1))
    load.close()
    records = load.records
    clients = sum(record.attempt == 1 for record in records)
    served = [record for record in records if record.succeeded]
    last = max((record.last or 0.0) for record in served)
    return {
        "rate": round(rate, 1),
        "seconds": seconds,
        "clients": clients,
        "goodput": round(_per_second(records, settings, settings.settled, seconds), 2),
        "goodput_to_the_last": round(len([each for each in served if _good(each, settings)]) / last, 2),
        "served": len(served),
        "given_up": sum(record.error is not None and record.retry_after is None for record in records),
        "refusals": sum(record.retry_after is not None for record in records),
        "most_attempts": max(record.attempt for record in records),
        "last_served_after": round(last, 1),
    }


def _per_second(records: Sequence[Record], settings: GoodputSettings, start: float, end: float) -> float:
    """Count the good responses that ended between two moments, for each second."""
    good = [each for each in records if _good(each, settings) and start <= (each.last or 0.0) < end]
    return len(good) / (end - start)


def _good(record: Record, settings: GoodputSettings) -> bool:
    return record.succeeded and record.e2e is not None and record.e2e <= settings.within


def _requests(settings: GoodputSettings, name: str) -> list[workload.Request]:
    """Write prompts that have nothing in common, with those of other names neither: no prefix cache finds anything."""
    return [
        workload.chat(
            _MODEL,
            # Of the simulator's tokens, four hexadecimal digits each.
            random.Random(f"{name} {number}").randbytes(2 * settings.prompt).hex(),  # noqa: S311 - no secret
            settings.tokens[number % len(settings.tokens)],
            stream=True,
        )
        for number in range(_PROMPTS)
    ]


def _configuration(engines: Sequence[SimulatedEngine], settings: GoodputSettings) -> str:
    urls = json.dumps([engine.address for engine in engines])
    return (
        f'[gateway]\naccess_log = "off"\n[models.{_MODEL}]\nengine = "remote"\nurls = {urls}\ntasks = ["generate"]\n'
        f"limits.max_in_flight = {settings.slots}\nlimits.max_queue = {settings.max_queue}\n"
    )


def table(found: Mapping[str, Any]) -> str:
    """Write a row for each load, in Markdown."""
    lines = [
        "| times the knee | clients | good responses/s | of the peak | to the last client, of the peak | refusals | "
        "most attempts of a client | served in the end | the last one after, s |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {run['times']:g} | {run['clients']:,} | {run['goodput']:.1f} | {run['goodput'] / found['peak']:.1%} | "
        f"{run['goodput_to_the_last'] / found['peak']:.1%} | {run['refusals']:,} | {run['most_attempts']} | "
        f"{run['served']:,} | {run['last_served_after']:g} |"
        for run in found["runs"]
    ]
    return "\n".join(lines)


def chart(found: Mapping[str, Any]) -> Drawing:
    """Draw the goodput at each load."""
    bars = [(f"{run['times']:g} times the knee", run["goodput"]) for run in found["runs"]]
    return bar_chart("Goodput under overload", [("good responses a second", [("peak", found["peak"]), *bars])], "peak")


def misses(found: Mapping[str, Any]) -> list[str]:
    """Name the loads at which goodput fell, or clients were not served."""
    missed: list[str] = []
    for run in found["runs"]:
        where = f"goodput at {run['times']:g} times the knee"
        share = run["goodput"] / found["peak"]
        if share < _LEAST:
            missed.append(f"{where}: {share:.1%} of the peak, at least {_LEAST:.0%} wanted")
        if run["served"] < run["clients"]:
            missed.append(f"{where}: {run['clients'] - run['served']} clients were never served")
    return missed
