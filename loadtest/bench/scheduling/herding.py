"""Whether requests crowd at a replica that comes back cold: how many each has in flight, beside the mean of all."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import islice
from statistics import fmean
from typing import Any

from loadtest import arrivals, workload
from loadtest.bench.faults.serving import ServedGateway, serving
from loadtest.load import Load
from loadtest.record import Record
from loadtest.simulator import SimulatedEngine
from loadtest.simulator.profile import PROFILES, Profile
from loadtest.summary import percentile
from loadtest.svg.bar_chart import bar_chart
from loadtest.svg.drawing import Drawing

_MODEL = "m"
_PROFILE = "gpu-8b"

_SAMPLE_SECONDS = 0.1

_MOST = 1.5
"""So many times the mean in flight no replica may have, over all the time since the restart."""

_MARKED = "prefix"
"""The policy that the target is for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HerdingSettings:
    """How many replicas, how slow, and under which load; all times in seconds."""

    policies: tuple[str, ...] = ("prefix", "least_tokens", "least_in_flight", "power_of_two", "round_robin")
    replicas: int = 16
    slowdown: float = 40.0
    """How many times as slow as the profile's machine: a step takes long against the noise of the machine that is
    measured on."""
    rate: float = 14.4
    warm_up: float = 40.0
    down: float = 2.0
    after: float = 40.0
    window: float = 5.0
    """Requests in flight are averaged over so long for a closer look. With twenty at each replica, and as long as one
    request takes or shorter, that is chance in large part: if each were put anywhere, their deviation would be 22 %."""

    @property
    def profile(self) -> Profile:
        """What each engine costs."""
        return PROFILES[_PROFILE].faster(1 / self.slowdown)


async def measure(log: Callable[[str], None], settings: HerdingSettings | None = None) -> dict[str, Any]:
    """Restart one of the replicas under steady load, once for each policy."""
    settings = settings or HerdingSettings()
    runs = []
    for policy in settings.policies:
        runs.append({"policy": policy, **await _run(policy, settings)})
        log(f"herding: {runs[-1]}")
    return {
        "profile": _PROFILE,
        "slowdown": settings.slowdown,
        "replicas": settings.replicas,
        "rate": settings.rate,
        "window": settings.window,
        "runs": runs,
    }


def conversations(seed: int, *, at_once: int = 300, turns: int = 8) -> Iterator[workload.Request]:
    """Give one turn after the other of conversations that go on at the same time, without end.

    Each begins with one of four texts of 200 tokens, and each turn adds 50 tokens to what stands before it. Those that
    are under way at first are so at any turn.
    """
    draw = random.Random(seed)  # noqa: S311 - a reproducible load, nothing secret
    begun = 0
    under_way: list[tuple[str, int]] = [("", turns)] * at_once
    while True:
        at = draw.randrange(at_once)
        text, turn = under_way[at]
        if turn >= turns:
            begun += 1
            text, turn = _text(200, f"system {begun % 4}"), draw.randrange(turns) if begun <= at_once else 0
            text += _text(50 * turn, f"before {begun}")
        text += _text(50, f"turn {begun} {turn} {at}")
        under_way[at] = text, turn + 1
        yield workload.chat(_MODEL, text, 64, stream=True)


def _text(tokens: int, seed: str) -> str:
    """Write a text of so many tokens of the simulator's tokenizer: four hexadecimal digits each."""
    return random.Random(seed).randbytes(2 * tokens).hex()  # noqa: S311 - reproducible prompts, nothing secret


async def _run(policy: str, settings: HerdingSettings) -> dict[str, Any]:
    """Put on the load, restart the first replica in its midst, and look at what is in flight everywhere."""
    seconds = settings.warm_up + settings.down + settings.after
    moments = arrivals.poisson(settings.rate, seconds, seed=1)
    requests = list(islice(conversations(seed=1), len(moments)))
    async with AsyncExitStack() as stack:
        engines = [SimulatedEngine(_MODEL, profile=settings.profile, recorded=0) for _ in range(settings.replicas)]
        for engine in engines:
            await engine.start()
        stack.push_async_callback(_close, engines)
        gateway = await stack.enter_async_context(serving(_configuration(engines, policy)))
        load = Load(gateway.address)
        stack.callback(load.close)
        asking = asyncio.create_task(load.open_loop(requests, moments))
        await asyncio.sleep(settings.warm_up)
        await _restart_cold(engines, settings, gateway)
        back = load.now
        after = await _samples(engines, settings.after)
        sent = len(load.records)
        load.stop()
        await asking
    per_window = round(settings.window / _SAMPLE_SECONDS)
    shares = [_shares(window) for window in _windows(after, per_window)]
    ended = [record for record in load.records[:sent] if record.ttft is not None]
    return {
        "requests": sent,
        "failed": sum(record.status not in (0, 200) or _broken(record) for record in load.records[:sent]),
        "mean_in_flight": round(fmean(fmean(each) for each in after), 1),
        "most_after": round(max(_shares(after)), 2),
        "most_in_a_window": round(max(max(each) for each in shares), 2),
        "restarted_least": round(min(each[0] for each in shares), 2),
        "restarted_most": round(max(each[0] for each in shares), 2),
        "p99_ttft_ms_before": _p99_ttft([each for each in ended if (each.sent or 0.0) < settings.warm_up]),
        "p99_ttft_ms_after": _p99_ttft([each for each in ended if (each.sent or 0.0) >= back]),
    }


async def _restart_cold(engines: list[SimulatedEngine], settings: HerdingSettings, gateway: ServedGateway) -> None:
    """Kill the first engine, and start another in its place, which has nothing in its cache."""
    killed = engines[0]
    port = int(killed.address.rpartition(":")[2])
    killed.crash()
    await asyncio.sleep(settings.down)
    engines[0] = SimulatedEngine(_MODEL, port=port, profile=settings.profile, recorded=0)
    await engines[0].start()
    await gateway.until(_MODEL, lambda replicas: all(each["ready"] for each in replicas))


async def _close(engines: Sequence[SimulatedEngine]) -> None:
    for engine in engines:
        await engine.close()


async def _samples(engines: Sequence[SimulatedEngine], seconds: float) -> list[list[int]]:
    """Look again and again at how many requests each engine has, in whatever state."""
    found = []
    for _ in range(round(seconds / _SAMPLE_SECONDS)):
        found.append([each.received - each.served - each.aborted - each.faulted for each in engines])
        await asyncio.sleep(_SAMPLE_SECONDS)
    return found


def _windows(samples: Sequence[list[int]], length: int) -> Iterator[Sequence[list[int]]]:
    """Give windows of so many samples, each half a window behind the one before."""
    for start in range(0, len(samples) - length + 1, max(1, length // 2)):
        yield samples[start : start + length]


def _shares(window: Sequence[list[int]]) -> list[float]:
    """Give the mean of each replica over that of all."""
    means = [fmean(each) for each in zip(*window, strict=True)]
    overall = fmean(means) or 1.0
    return [each / overall for each in means]


def _broken(record: Record) -> bool:
    return record.error is not None and record.error != "the test was stopped"


def _p99_ttft(records: Sequence[Record]) -> float:
    times = [1000 * each.ttft for each in records if each.ttft is not None]
    return round(percentile(times, 99)) if times else 0.0


def _configuration(engines: Sequence[SimulatedEngine], policy: str) -> str:
    urls = json.dumps([engine.address for engine in engines])
    return (
        f'[gateway]\naccess_log = "off"\n[models.{_MODEL}]\nengine = "remote"\nurls = {urls}\ntasks = ["generate"]\n'
        f'policy = "{policy}"\nhealth_interval = 0.5\nrecovery = true\n'
    )


def table(found: Mapping[str, Any]) -> str:
    """Write a row for each policy, in Markdown."""
    lines = [
        "| policy | mean in flight | most of a replica after the restart, times the mean | "
        f"over any {found['window']:g} s | the restarted one, over any {found['window']:g} s | TTFT p99 before, ms | "
        "after, ms | failed |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for run in found["runs"]:
        name = f"**{run['policy']}**" if run["policy"] == _MARKED else run["policy"]
        lines.append(
            f"| {name} | {run['mean_in_flight']} | {run['most_after']:.2f} | {run['most_in_a_window']:.2f} | "
            f"{run['restarted_least']:.2f} to {run['restarted_most']:.2f} | {run['p99_ttft_ms_before']:,} | "
            f"{run['p99_ttft_ms_after']:,} | {run['failed']} |"
        )
    return "\n".join(lines)


def chart(found: Mapping[str, Any]) -> Drawing:
    """Draw the most that a replica had, and the time to the first token, for each policy."""
    runs = found["runs"]
    panels = [
        ("most in flight at one replica, times the mean", [(run["policy"], run["most_after"]) for run in runs]),
        ("TTFT p99 after the restart, s", [(run["policy"], run["p99_ttft_ms_after"] / 1000) for run in runs]),
    ]
    return bar_chart(f"One of {found['replicas']} replicas comes back cold", panels, _MARKED)


def misses(found: Mapping[str, Any]) -> list[str]:
    """Name what crowded."""
    return [
        f"herding, {run['policy']}: a replica had {run['most_after']:.2f} times the mean, at most {_MOST} wanted"
        for run in found["runs"]
        if run["policy"] == _MARKED and run["most_after"] > _MOST
    ]
