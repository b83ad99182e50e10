"""Where the knee is: the highest rate at which a server still meets its objectives."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loadtest.record import Record
from loadtest.summary import allowed_lateness, missed

_FEWEST_REQUESTS = 50
_LONGEST = 10
_RESPONSES_LONG = 5
_PRECISION = 0.1
_SMALLEST = 1 / 16
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Step:
    """What happened at one rate. ``reason`` says why it does not meet the objectives; ``None``: it does."""

    rate: float
    seconds: float
    records: Sequence[Record]
    found: Mapping[str, Any]
    reason: str | None

    def __str__(self) -> str:
        found = self.found
        times = "".join(
            f", {name} p50 {found[f'median_{name}_ms']:.1f} p99 {found[f'p99_{name}_ms']:.1f} ms"
            for name in ("ttft", "tpot", "e2el")
            if f"median_{name}_ms" in found
        )
        verdict = "meets" if self.reason is None else "fails"
        line = f"{self.rate:9.2f}/s for {self.seconds:.0f} s {verdict}: {found['slo_attainment']:.1%} within{times}"
        return line if self.reason is None else f"{line}\n{'':13}{self.reason}"

    @property
    def goodput(self) -> float:
        """Requests per second that met every objective, counted when they were sent: the end of a step is no drain."""
        return self.rate * float(self.found["slo_attainment"])


class Search:
    """Which rate to try next: doubled until one fails, then halfway between the best and the worst.

    It ends when the two are within a tenth of each other, or when a sixteenth of the first rate fails too.
    """

    def __init__(self, start: float) -> None:
        self.rate: float | None = start
        self._smallest = start * _SMALLEST
        self._best = 0.0
        self._worst: float | None = None

    def note(self, *, met: bool) -> None:
        """Say whether ``rate`` met the objectives; then ``rate`` is the next one, or ``None`` at the end."""
        assert self.rate is not None
        if met:
            self._best = self.rate
        else:
            self._worst = self.rate
        best, worst = self._best, self._worst
        if worst is None:
            self.rate = best * 2
        elif worst - best <= best * _PRECISION or (not best and worst <= self._smallest):
            self.rate = None
        else:
            self.rate = (best + worst) / 2


def length(rate: float, seconds: float, response: float) -> float:
    """Say how long a step has to be in seconds: at least ``seconds``.

    And long enough for 50 requests (but not over ten times ``seconds``), and for five ``response`` times, so that
    queues have time to grow.
    """
    return max(seconds, min(_FEWEST_REQUESTS / rate, seconds * _LONGEST), response * _RESPONSES_LONG)


def judge(
    records: Sequence[Record], found: Mapping[str, Any], slos: Mapping[str, float], attainment: float
) -> str | None:
    """Say why a rate does not meet the objectives; ``None`` if it does.

    It does if a share of ``attainment`` of the requests was answered and met each of ``slos`` (milliseconds), and the
    client could send them at about the moments that were planned.
    """
    stayed = [record for record in records if not record.left]
    if not stayed:
        return "no request was sent"
    allowed = (1 - attainment) * len(stayed) + _ROUNDING
    reasons = []
    if found["failed"] > allowed:
        errors = "; ".join(f"{number} x {error}" for error, number in found["errors"].items())
        reasons.append(f"errors: {found['failed']} of {len(stayed)} requests failed ({errors})")
    misses = [missed(record, slos) for record in stayed if record.succeeded]
    for name, limit in slos.items():
        number = sum(name in each for each in misses)
        if number > allowed:
            reasons.append(
                f"{name}: {number / len(stayed):.0%} of the requests took more than {limit:g} ms "
                f"(p50 {found[f'p50_{name}_ms']:.1f}, p95 {found[f'p95_{name}_ms']:.1f} ms)"
            )
    if not reasons and (1 - found["slo_attainment"]) * len(stayed) > allowed:
        reasons.append(f"together: only {found['slo_attainment']:.1%} of the requests met every objective")
    late, limit = found["median_lateness_ms"], allowed_lateness(found)
    if late > limit:
        reasons.append(f"lateness: the client itself sent half of the requests more than {late:.1f} ms too late")
    if reasons and found["warnings"]:
        reasons.append(f"perhaps because {found['warnings'][0]}")
    return "; ".join(reasons) or None


async def climb(
    attempt: Callable[[float, float, int], Awaitable[Step | None]], start: float, seconds: float
) -> list[Step]:
    """Try rates until the knee is found. ``attempt(rate, seconds, number)`` gives ``None`` to stop before that."""
    search = Search(start)
    steps: list[Step] = []
    while search.rate is not None:
        # The shortest: at a rate that is too high, responses take long because they wait.
        response = min((step.found["median_e2el_ms"] / 1000 for step in steps if step.found["completed"]), default=0.0)
        step = await attempt(search.rate, length(search.rate, seconds, response), len(steps) + 1)
        if step is None:
            break
        steps.append(step)
        search.note(met=step.reason is None)
    return steps


def knee(steps: Sequence[Step]) -> dict[str, Any]:
    """Give the highest rate that met the objectives (``None``: none did), and the next one with why it did not."""
    best = max((step.rate for step in steps if step.reason is None), default=None)
    failed = [step for step in steps if step.reason is not None and (best is None or step.rate > best)]
    beyond = min(failed, key=lambda step: step.rate, default=None)
    return {
        "knee_rate": best,
        "next_rate": None if beyond is None else beyond.rate,
        "reason": None if beyond is None else beyond.reason,
    }


def conclusion(found: Mapping[str, Any]) -> str:
    """Say where the knee is, for people."""
    if found["knee_rate"] is None:
        return f"no rate met the objectives; even {found['next_rate']:.2f}/s failed: {found['reason']}"
    if found["next_rate"] is None:
        return f"the knee was not found: {found['knee_rate']:.2f}/s still met the objectives"
    return (
        f"the knee is at {found['knee_rate']:.2f}/s: the highest rate that met the objectives\n"
        f"{found['next_rate']:.2f}/s failed: {found['reason']}"
    )
