"""A scaler that knows the future: what the rules could save at most, as far as a search finds it.

A schedule is planned by dynamic programming over seconds and replicas: each second of a replica costs one, so does each
second of a start, and each request that misses the objective costs what it is worth. How many miss it with so many
replicas is at first what a fixed fleet of that size misses, and then what the simulation of the plan shows. What a
request is worth is halved and doubled until the goodput is just reached. It is no lower bound: a schedule that costs
less may exist.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from loadtest.bench.elastic.fleet import Demand, FleetRun, FleetSettings, simulate
from loadtest.traces import TraceRequest

_LEAST_WORTH, _MOST_WORTH = 0.5, 128.0
"""Between which numbers of replica-seconds the worth of a request is looked for."""


class Schedule:
    """A rule that has ``ready`` replicas in each second, and orders each as long before as its start takes.

    One that will be needed again before another could be started in its place is kept.
    """

    def __init__(self, ready: Sequence[int], start_seconds: float) -> None:
        self._ready = ready
        self._ahead = math.ceil(start_seconds) + 1

    def __call__(self, seen: Demand) -> int:
        """Say how many replicas there are to be."""
        now = int(seen.now)
        return max(self._ready[now : now + self._ahead], default=1)


def plan(missed: Sequence[Sequence[float]], start_seconds: float, worth: float) -> list[int]:
    """Choose how many replicas are ready in each second, one at first and at least, so that all costs the least.

    ``missed`` has a row for each number of replicas, from one on: how many requests of each second miss the objective.
    """
    numbers = range(len(missed))
    costs = [0.0, *[math.inf] * (len(missed) - 1)]
    before: list[list[int]] = []
    for of_second in zip(*missed, strict=True):
        ways = [min((costs[old] + start_seconds * max(0, new - old), old) for old in numbers) for new in numbers]
        before.append([old for _, old in ways])
        costs = [ways[new][0] + new + 1 + worth * of_second[new] for new in numbers]
    latest = min(numbers, key=costs.__getitem__)
    chosen = [latest]
    for olds in reversed(before[1:]):
        chosen.append(olds[chosen[-1]])
    return [number + 1 for number in reversed(chosen)]


def clairvoyant(
    trace: Sequence[TraceRequest],
    settings: FleetSettings,
    fleets: Sequence[FleetRun],
    share: float,
    *,
    rounds: int = 6,
) -> FleetRun:
    """Find the cheapest run with this share of the goodput of the largest of ``fleets``, which are fixed, from one on.

    The costliest that may be returned is that fleet itself.
    """
    best = fleets[-1]
    seconds = max(len(each.missed) for each in fleets)
    missed = [[float(each) for each in fleet.missed] + [0.0] * (seconds - len(fleet.missed)) for fleet in fleets]
    low, high = _LEAST_WORTH, _MOST_WORTH
    for _ in range(rounds):
        worth = math.sqrt(low * high)
        ready = plan(missed, settings.start_seconds, worth)
        run = simulate(trace, settings, Schedule(ready, settings.start_seconds), at_first=1)
        if run.attained < share * fleets[-1].attained:
            low = worth
        else:
            high = worth
            best = min(best, run, key=lambda each: each.replica_seconds)
        _learn(missed, ready, run.missed)
    return best


def _learn(missed: Sequence[list[float]], ready: Sequence[int], seen: Sequence[int]) -> None:
    """Take over what a simulation has shown, by half as it depends on the seconds before; more never miss more."""
    for second, (number, late) in enumerate(zip(ready, seen, strict=False)):
        row = missed[number - 1]
        row[second] = (row[second] + late) / 2
        for fewer, more in pairwise(missed):
            more[second] = min(more[second], fewer[second])
