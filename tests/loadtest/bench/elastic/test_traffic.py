"""A day of traffic rises and falls once, and is the same each time."""

from __future__ import annotations

from loadtest.bench.elastic.traffic import day
from loadtest.traces import TraceRequest

LENGTHS = [TraceRequest(0.0, 100, 10), TraceRequest(0.0, 900, 40)]


def test_the_rate_is_highest_at_noon() -> None:
    made = day(LENGTHS, seconds=600.0, lowest=1.0, highest=10.0)
    morning, noon, evening = (sum(at <= each.at < at + 60 for each in made) for at in (0.0, 270.0, 540.0))
    assert noon > 4 * max(morning, evening)
    assert made == sorted(made, key=lambda each: each.at)
    assert {(each.tokens_in, each.tokens_out) for each in made} == {(100, 10), (900, 40)}


def test_the_same_seed_is_the_same_day() -> None:
    assert day(LENGTHS, seconds=60.0) == day(LENGTHS, seconds=60.0)
    assert day(LENGTHS, seconds=60.0) != day(LENGTHS, seconds=60.0, seed=2)
