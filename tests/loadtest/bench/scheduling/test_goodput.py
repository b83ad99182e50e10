"""Clients that come back when they are told to are served in the end, however many came at once."""

from __future__ import annotations

from typing import Any

import pytest

from loadtest.bench.scheduling.goodput import GoodputSettings, chart, measure, misses, table

SMALL = GoodputSettings(
    engines=1,
    slowdown=1.0,
    slots=4,
    max_queue=4,
    knee_seconds=2.0,
    settled=0.2,
    seconds={3.0: 1.0},
)


@pytest.mark.slow
async def test_every_client_is_served_in_the_end() -> None:
    lines: list[str] = []
    found = await measure(lines.append, SMALL)
    (run,) = found["runs"]
    assert found["peak"] >= found["knee"] > 0
    assert run["served"] == run["clients"] > 4
    assert (run["refusals"] > 0) is (run["most_attempts"] > 1)
    assert lines[0].startswith("goodput: the knee is at ")


def run(times: float, goodput: float, served: int = 100) -> dict[str, Any]:
    return {
        "times": times,
        "clients": 100,
        "goodput": goodput,
        "goodput_to_the_last": goodput,
        "refusals": 7,
        "most_attempts": 2,
        "served": served,
        "last_served_after": 12.5,
    }


def test_what_was_found_is_told_beside_what_is_wanted() -> None:
    found = {"peak": 10.0, "runs": [run(1.0, 9.6), run(3.0, 9.4), run(10.0, 9.9, served=98)]}
    assert misses(found) == [
        "goodput at 3 times the knee: 94.0% of the peak, at least 95% wanted",
        "goodput at 10 times the knee: 2 clients were never served",
    ]
    assert table(found).splitlines()[2] == "| 1 | 100 | 9.6 | 96.0% | 96.0% | 7 | 2 | 100 | 12.5 |"
    assert "10 times the knee" in chart(found).file()
