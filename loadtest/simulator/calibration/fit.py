"""From measured times to costs.

A single request's time to the first token is ``request + step + prefill_token * P + attended * P² / 2``; in a wave of
equal requests the gap between tokens is ``step + decode * N + attended * N * context``. The costs are what fits all
points best, in least squares of the relative error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from loadtest.simulator.profile import COSTS


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
    """Return the point of the gap between tokens in a wave of requests, in the middle of their responses."""
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


def profile_text(costs: Sequence[float], limits: Mapping[str, int] = MappingProxyType({})) -> str:
    """Write costs, and what else is known of an engine, as the ``Profile(...)`` that belongs into ``PROFILES``."""
    values = [f"{name}={value:.4g}" for name, value in zip(COSTS, costs, strict=True)]
    return f"Profile({', '.join([*values, *(f'{name}={value}' for name, value in limits.items())])})"


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
