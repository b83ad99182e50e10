"""Each target of a soak test can be met and missed."""

from typing import Any

import pytest

from loadtest.bench.soak_report import misses, table


def soak(**changes: Any) -> dict[str, Any]:
    streams = {
        "complete": 10,
        "events": 1000,
        "lost": 0,
        "repeated": 0,
        "long_gaps": 0,
        "longest_gap_ms": 120.0,
        "resident_change": 0.01,
        "direct": {"p50_us": 100.0, "p99_us": 500.0},
        "through": {
            "without_scrapes": {"p50_us": 200.0, "p99_us": 900.0},
            "with_scrapes": {"p50_us": 200.0, "p99_us": 910.0},
        },
        "added_p99_us": {"without_scrapes": 400.0, "with_scrapes": 410.0},
        "lag": {"ticks": 100, "p999_below_ms": 10.0, "within_20_ms": 1.0},
    }
    spike = {
        "requests": 100,
        "refused": 5,
        "before_p99_ms": 50.0,
        "rush_p99_ms": 800.0,
        "recovered_after_seconds": 1.0,
    }
    for name, value in changes.items():
        (streams if name in streams else spike)[name] = value
    return {
        "part": "soak",
        "settings": {"streams": 10, "pace": 0.1, "seconds": 600},
        "streams": streams,
        "spike": spike,
    }


def test_a_good_run_meets_every_target() -> None:
    assert misses(soak()) == []
    assert "| events lost | 0 | 0 | met |" in table(soak())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"complete": 9}, "streams that came to their end"),
        ({"lost": 1}, "events lost"),
        ({"repeated": 1}, "events out of order or twice"),
        ({"long_gaps": 1}, "gaps over 1,000 ms"),
        ({"resident_change": 0.06}, "change of RSS"),
        ({"added_p99_us": {"without_scrapes": 400.0, "with_scrapes": 450.0}}, "its rise when scraped"),
        ({"lag": {"ticks": 9, "p999_below_ms": 50.0, "within_20_ms": 0.9}}, "event-loop lag"),
        ({"recovered_after_seconds": 5.5}, "back to normal"),
    ],
)
def test_each_limit_of_the_steadiness_can_be_missed(changes: dict[str, Any], said: str) -> None:
    (miss,) = misses(soak(**changes))
    assert miss.startswith(said)
    assert "**missed**" in table(soak(**changes))


def test_a_bound_of_the_lag_that_is_no_whole_number_is_not_rounded() -> None:
    lag = {"ticks": 100, "p999_below_ms": 2.5, "within_20_ms": 1.0}
    assert "| event-loop lag, p99.9 | ≤ 2.5 ms | ≤ 20 ms | met |" in table(soak(lag=lag))


def test_where_the_engine_alone_was_slower_the_latencies_themselves_are_compared() -> None:
    added = {"without_scrapes": -10.0, "with_scrapes": 0.0}
    assert misses(soak(added_p99_us=added)) == []
    through = {"without_scrapes": {"p50_us": 1.0, "p99_us": 900.0}, "with_scrapes": {"p50_us": 1.0, "p99_us": 1800.0}}
    assert len(misses(soak(added_p99_us=added, through=through))) == 1


def test_what_has_no_target_has_no_verdict() -> None:
    assert "| events | 1,000 |  |  |" in table(soak())
