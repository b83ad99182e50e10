"""What happened between two moments is the difference of what was counted; quantiles are those of Prometheus."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.control.page.readings import Buckets, Reading, statuses, total
from gateway.observe.counters import Histogram, ModelMetrics


def buckets(*values: float, bounds: tuple[float, ...] = (1.0, 2.0, 4.0)) -> Buckets:
    histogram = Histogram.of(bounds)
    for value in values:
        histogram.observe(value)
    return Buckets.of(histogram)


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ((), 0.5, None),
        ((0.5,), 0.5, 0.5),
        ((0.5, 0.5), 0.5, 0.5),
        ((1.5, 1.5, 1.5, 1.5), 0.5, 1.5),
        ((0.5, 3.0), 0.75, 3.0),
        ((0.5, 3.0), 1.0, 4.0),
        ((100.0,), 0.5, 4.0),
    ],
)
def test_a_quantile_is_interpolated_within_its_bucket(
    values: tuple[float, ...], share: float, expected: float | None
) -> None:
    assert buckets(*values).quantile(share) == expected


def test_buckets_add_up_and_differ() -> None:
    first, second = buckets(0.5, 3.0), buckets(0.5, 0.5, 3.0, 9.0)
    assert second.since(first) == buckets(0.5, 9.0)
    assert first.plus(buckets(0.5, 9.0)) == second
    assert second.number == 4


def metrics(**given: Any) -> ModelMetrics:
    return replace(ModelMetrics.zero(), **given)


def test_a_reading_is_of_one_moment() -> None:
    counted = metrics(input_tokens=7, output_tokens=9, refused=1, queue_timeouts=2)
    counted.retries["retried"] = 3
    counted.fallbacks["other"] = 1
    counted.durations["/v1/chat/completions"] = Histogram.of(Reading.zero().durations.bounds)
    counted.durations["/v1/completions"] = Histogram.of(Reading.zero().durations.bounds)
    for each in counted.durations.values():
        each.observe(0.5)
    reading = Reading.of(counted, {200: 5, 502: 2, 404: 1})
    counted.retries["retried"] = 30
    assert (reading.requests, reading.errors, reading.refused, reading.retried) == (8, 2, 3, 3)
    assert reading.durations.number == 2
    assert reading.fallbacks == {"other": 1}


def test_what_was_counted_since_is_the_difference() -> None:
    before = Reading.of(metrics(output_tokens=5), {200: 5})
    after = Reading.of(metrics(output_tokens=9), {200: 6, 503: 1})
    between = after.since(before)
    assert (between.responses, between.output_tokens, between.errors) == ({200: 1, 503: 1}, 4, 1)
    assert after.since(after) == Reading.zero()
    assert before.plus(between) == after


def test_models_are_added_up() -> None:
    both = total([Reading.of(metrics(refused=1), {200: 5}), Reading.of(metrics(refused=2), {200: 1, 500: 1})])
    assert (both.responses, both.refused) == ({200: 6, 500: 1}, 3)
    assert total([]) == Reading.zero()


def test_requests_are_sorted_by_model_over_their_endpoints() -> None:
    counted = {("m", "/a", 200): 1, ("m", "/b", 200): 2, ("m", "/a", 503): 3, ("n", "/a", 200): 4}
    assert statuses(counted) == {"m": {200: 3, 503: 3}, "n": {200: 4}}
