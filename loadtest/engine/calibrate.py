"""Measure a real engine and fit the simulator's costs to it: ``python -m loadtest.engine.calibrate --model NAME``.

Two series are measured: single requests with prompts of growing length, whose time to the first token is ``request +
step + prefill_token * P + attended * P² / 2``; and waves of equal requests sent at once, whose median gap between
tokens is ``step + decode * N + attended * N * context``. The costs are what fits both best, in least squares of the
relative error.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import msgspec
import numpy as np
import uvloop

from loadtest.engine.profile import COSTS
from loadtest.load import Load
from loadtest.record import Record
from loadtest.workload import Ask

_VOCABULARY = range(1000, 20_000)
"""Token ids that prompts are drawn from, so that no prefix cache has them."""


@dataclass(frozen=True, slots=True)
class Point:
    """One measured time in seconds, and how often each cost is in it, in the order of ``COSTS``."""

    what: str
    concurrency: int
    prompt_tokens: int
    seconds: float
    counts: tuple[float, ...]

    def predicted(self, costs: Sequence[float]) -> float:
        """Return what these costs say it takes."""
        return sum(count * cost for count, cost in zip(self.counts, costs, strict=True))


def first_token(prompt: int, seconds: float) -> Point:
    """Return the point of a single request's time to its first token."""
    return Point("ttft", 1, prompt, seconds, (1, 1, prompt, 0, prompt * prompt / 2))


def gap(concurrency: int, prompt: int, produced: int, seconds: float) -> Point:
    """Return the point of the gap between tokens in a wave of requests, in the middle of their answers."""
    context = prompt + produced / 2
    return Point("gap", concurrency, prompt, seconds, (0, 1, 0, concurrency, concurrency * context))


def fit(points: Sequence[Point]) -> list[float]:
    """Return the costs, none of them negative, with the least sum of squared relative errors."""
    rows = np.array([[count / point.seconds for count in point.counts] for point in points])
    kept = list(range(len(COSTS)))
    while True:
        found = np.linalg.lstsq(rows[:, kept], np.ones(len(points)), rcond=None)[0]
        if found.min() >= 0:
            break
        # A cost below zero is one that cannot be told from the others: it is none, and the rest is fitted again.
        del kept[int(found.argmin())]
    costs = [0.0] * len(COSTS)
    for at, value in zip(kept, found, strict=True):
        costs[at] = float(value)
    return costs


async def measure(url: str, model: str, *, prompts: Sequence[int], waves: Sequence[tuple[int, int]]) -> list[Point]:
    """Measure single requests with these prompt lengths, and waves of (concurrency, prompt length).

    Raises ``RuntimeError`` if a request fails.
    """
    draw = random.Random(0)  # noqa: S311 - reproducible prompts, nothing secret
    load = Load(url)
    points: list[Point] = []
    try:
        await _wave(load, [_ask(model, draw, 16, 4)])
        for prompt in prompts:
            times = []
            for _ in range(3):
                (record,) = await _wave(load, [_ask(model, draw, prompt, 2)])
                times.append(record.ttft or 0.0)
            points.append(first_token(prompt, median(times)))
            print(points[-1], file=sys.stderr, flush=True)
        for concurrency, prompt in waves:
            produced = 32
            records = await _wave(load, [_ask(model, draw, prompt, produced) for _ in range(concurrency)])
            # Before all have their first token, and after some have their last, fewer run than were sent.
            begun = max(record.first or 0.0 for record in records)
            gaps = [each for record in records for each in _gaps_after(record, begun)]
            points.append(gap(concurrency, prompt, produced, median(gaps)))
            print(points[-1], file=sys.stderr, flush=True)
    finally:
        load.close()
    return points


def table(points: Sequence[Point], costs: Sequence[float]) -> str:
    """Write what was measured beside what the costs say, as a table in Markdown."""
    lines = ["| | requests at once | prompt tokens | measured ms | fitted ms | error |", "|---|--:|--:|--:|--:|--:|"]
    for point in points:
        fitted = point.predicted(costs)
        lines.append(
            f"| {point.what} | {point.concurrency} | {point.prompt_tokens} | {point.seconds * 1000:.1f} "
            f"| {fitted * 1000:.1f} | {fitted / point.seconds - 1:+.1%} |"
        )
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    command = argparse.ArgumentParser(
        prog="python -m loadtest.engine.calibrate",
        description="Measure a real engine, which should have nothing else to do, and fit the simulator's costs to it.",
    )
    command.add_argument(
        "--url", default="http://127.0.0.1:8000", help="address of the engine or of a gateway in front"
    )
    command.add_argument("--model", required=True, metavar="NAME", help="the model to ask")
    command.add_argument(
        "--prompts", type=int, nargs="+", default=[16, 64, 256, 512, 1024, 1900], metavar="N", help="prompt lengths"
    )
    command.add_argument(
        "--concurrency", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32], metavar="N", help="sizes of the waves"
    )
    command.add_argument("--save", type=Path, metavar="FILE", help="write points and costs as JSON")
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    options = parser().parse_args(arguments)
    waves = [(each, 32) for each in options.concurrency] + [(each, 512) for each in options.concurrency if each > 2]
    points = uvloop.run(measure(options.url, options.model, prompts=options.prompts, waves=waves))
    costs = fit(points)
    print(table(points, costs))
    named = dict(zip(COSTS, costs, strict=True))
    print("\nProfile(" + ", ".join(f"{name}={value:.4g}" for name, value in named.items()) + ")")
    if options.save is not None:
        found = {"model": options.model, "costs": named, "points": [asdict(point) for point in points]}
        options.save.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    return 0


def _ask(model: str, draw: random.Random, prompt: int, produced: int) -> Ask:
    fields = {
        "model": model,
        "prompt": draw.choices(_VOCABULARY, k=prompt),
        "max_tokens": produced,
        "ignore_eos": True,
        "temperature": 0.0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return Ask("/v1/completions", msgspec.json.encode(fields))


async def _wave(load: Load, asks: Sequence[Ask]) -> list[Record]:
    """Send all at once and return their records. Raises ``RuntimeError`` if any fails."""
    before = len(load.records)
    async with asyncio.timeout(300):
        await load.open_loop(asks, [0.0] * len(asks))
    records = load.records[before:]
    for record in records:
        if not record.succeeded:
            raise RuntimeError(f"a request failed: {record.error}")
    return records


def _gaps_after(record: Record, moment: float) -> list[float]:
    """Return the gaps between tokens that begin after a moment."""
    at = record.first or 0.0
    found = []
    for each in record.gaps:
        if at >= moment:
            found.append(each)
        at += each
    return found


if __name__ == "__main__":
    sys.exit(main())
