"""What a model has counted at one moment, and what happened between two moments: rates and quantiles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce
from itertools import accumulate
from operator import add, sub
from typing import TypeVar

import msgspec

from gateway.observe.counters import DURATION_BOUNDS, Histogram, ModelMetrics

Name = TypeVar("Name")


class Buckets(msgspec.Struct, frozen=True):
    """How many observations lie in each bucket of a histogram; ``bounds`` are upper limits, the last has none."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, histogram: Histogram) -> Buckets:
        """Copy what a histogram has counted so far."""
        return cls(histogram.bounds, tuple(histogram.counts))

    @property
    def number(self) -> int:
        """How many observations there are."""
        return sum(self.counts)

    def plus(self, other: Buckets) -> Buckets:
        """Add those of another histogram with the same bounds."""
        return Buckets(self.bounds, tuple(map(add, self.counts, other.counts)))

    def since(self, before: Buckets) -> Buckets:
        """Give the observations since an earlier moment."""
        return Buckets(self.bounds, tuple(map(sub, self.counts, before.counts)))

    def quantile(self, share: float) -> float | None:
        """Estimate a quantile as Prometheus's ``histogram_quantile`` does; ``None`` without observations.

        It is interpolated within its bucket; one above the last bound is that bound.
        """
        rank = share * self.number
        if not rank:
            return None
        totals = list(accumulate(self.counts))
        at = next(index for index, total in enumerate(totals) if total >= rank)
        if at == len(self.bounds):
            return self.bounds[-1]
        low = self.bounds[at - 1] if at else 0.0
        below = totals[at] - self.counts[at]
        return low + (self.bounds[at] - low) * (rank - below) / self.counts[at]


_NO_DURATIONS = Buckets(DURATION_BOUNDS, (0,) * (len(DURATION_BOUNDS) + 1))


class Reading(msgspec.Struct, frozen=True):
    """What was counted up to a moment, of one model or of several together, or what was counted between two."""

    responses: dict[int, int]
    """Requests completed, by status."""
    input_tokens: int
    output_tokens: int
    refused: int
    """Requests that got no slot: refused at once, or too long in the queue."""
    retried: int
    over_budget: int
    fallbacks: dict[str, int]
    recoveries: dict[str, int]
    first_token: Buckets
    per_token: Buckets
    durations: Buckets

    @classmethod
    def of(cls, metrics: ModelMetrics, responses: Mapping[int, int]) -> Reading:
        """Copy what a model has counted so far."""
        of_endpoints = [Buckets.of(histogram) for histogram in list(metrics.durations.values())]
        return cls(
            dict(responses),
            metrics.input_tokens,
            metrics.output_tokens,
            metrics.refused + metrics.queue_timeouts,
            metrics.retries["retried"],
            metrics.retries["over_budget"],
            _less(dict(metrics.fallbacks), {}),
            _less(dict(metrics.recoveries), {}),
            Buckets.of(metrics.first_token),
            Buckets.of(metrics.per_token),
            reduce(Buckets.plus, of_endpoints) if of_endpoints else _NO_DURATIONS,
        )

    @classmethod
    def zero(cls) -> Reading:
        """Give the reading of a model that has not been asked yet."""
        return cls.of(ModelMetrics.zero(), {})

    @property
    def requests(self) -> int:
        """How many requests were completed."""
        return sum(self.responses.values())

    @property
    def errors(self) -> int:
        """How many of them failed, and not by the client's fault."""
        return sum(number for status, number in self.responses.items() if status >= 500)

    def plus(self, other: Reading) -> Reading:
        """Add another model's."""
        return Reading(
            _added(self.responses, other.responses),
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.refused + other.refused,
            self.retried + other.retried,
            self.over_budget + other.over_budget,
            _added(self.fallbacks, other.fallbacks),
            _added(self.recoveries, other.recoveries),
            self.first_token.plus(other.first_token),
            self.per_token.plus(other.per_token),
            self.durations.plus(other.durations),
        )

    def since(self, before: Reading) -> Reading:
        """Give what was counted since an earlier reading of the same model."""
        return Reading(
            _less(self.responses, before.responses),
            self.input_tokens - before.input_tokens,
            self.output_tokens - before.output_tokens,
            self.refused - before.refused,
            self.retried - before.retried,
            self.over_budget - before.over_budget,
            _less(self.fallbacks, before.fallbacks),
            _less(self.recoveries, before.recoveries),
            self.first_token.since(before.first_token),
            self.per_token.since(before.per_token),
            self.durations.since(before.durations),
        )


def total(readings: Iterable[Reading]) -> Reading:
    """Add up the readings of several models."""
    return reduce(Reading.plus, readings, Reading.zero())


def statuses(counted: Mapping[tuple[str, str, int], int]) -> dict[str, dict[int, int]]:
    """Sort the numbers of requests, which are by model, endpoint and status, into one table for each model."""
    result: dict[str, dict[int, int]] = {}
    for (model, _, status), number in counted.items():
        of_model = result.setdefault(model, {})
        of_model[status] = of_model.get(status, 0) + number
    return result


def _added(first: Mapping[Name, int], second: Mapping[Name, int]) -> dict[Name, int]:
    return {name: first.get(name, 0) + second.get(name, 0) for name in [*first, *(second.keys() - first.keys())]}


def _less(now: Mapping[Name, int], before: Mapping[Name, int]) -> dict[Name, int]:
    return {name: number - before.get(name, 0) for name, number in now.items() if number != before.get(name, 0)}
