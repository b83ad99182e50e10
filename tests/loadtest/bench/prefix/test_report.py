"""Hits and times as a table and a chart, and every target that was missed in words."""

from __future__ import annotations

from typing import Any

import pytest

from loadtest.bench.prefix.report import chart, misses, table


def run(gateway: str, load: float, share: float, p90: float | None, *, is_ours: bool = False) -> dict[str, Any]:
    return {
        "gateway": gateway,
        "ours": is_ours,
        "replicas": 4,
        "load": load,
        "rate": 20.0,
        "hits": 100,
        "hit_share": share,
        "failed": 0,
        "failure": "",
        "p50_ttft_ms": None if p90 is None else p90 / 2,
        "p90_ttft_ms": p90,
        "gateway_cpu_us": 100.0,
    }


def found(*runs: dict[str, Any], cost: float = 48.0) -> dict[str, Any]:
    return {
        "part": "prefix",
        "requests": 2000,
        "prompt_tokens": 27_400_000,
        "distinct_tokens": 19_900_000,
        "cached_share": 0.4,
        "ceiling": 0.249,
        "profile": "gpu-8b",
        "speed": 4.0,
        "output_share": 0.125,
        "runs": list(runs),
        "left_out": {"gone": "it is not here"},
        "cost": [
            {
                "body_bytes": 2000,
                "failed": 0,
                "least_in_flight_cpu_us": 40.0,
                "prefix_cpu_us": cost,
                "limited_cpu_us": 56.0,
            },
        ],
    }


GOOD = run("headgate prefix", 0.6, 0.96, 700.0, is_ours=True)


def test_a_table_has_a_row_for_each_gateway_and_says_what_was_possible() -> None:
    page = table(found(GOOD, run("peer", 0.6, 0.5, None)))
    assert "One cache of that size would find 24.9% of the tokens" in page
    assert "| 4 | 60% | 20.0 | **headgate prefix** | 96.0% | 350 | 700 | 100 | 0 |" in page
    assert "| 4 | 60% | 20.0 | peer | 50.0% | - | - | 100 | 0 |" in page
    assert "Left out: gone (it is not here)." in page
    assert "| 2,000 | 40.0 | 48.0 | 1.20 | 56.0 | 1.40 |" in page


def test_what_was_not_measured_has_no_column() -> None:
    older = found(GOOD)
    del older["cost"][0]["limited_cpu_us"]
    page = table(older)
    assert "limits" not in page
    assert "| body of a unary request, bytes | CPU µs, `least_in_flight` | CPU µs, `prefix` | times |\n" in page
    assert "| 2,000 | 40.0 | 48.0 | 1.20 |" in page


def test_a_request_that_costs_too_much_is_named() -> None:
    assert misses(found(GOOD, cost=51.0)) == [
        "prefix: a request costs 1.27 times what it does without, at most 1.25 wanted"
    ]


def test_the_chart_has_two_panels_for_each_setting() -> None:
    drawn = chart(found(GOOD, run("headgate prefix", 0.9, 0.9, 900.0, is_ours=True))).file()
    assert "4 replicas at 60%: % of the possible hits" in drawn
    assert "4 replicas at 90%: TTFT p90, ms" in drawn


@pytest.mark.parametrize(
    ("others", "missed"),
    [
        ([GOOD, run("peer", 0.6, 0.5, 875.0), run("headgate random", 0.6, 0.5, 701.0, is_ours=True)], []),
        (
            [run("headgate prefix", 0.6, 0.94, 700.0, is_ours=True)],
            ["prefix, 4 replicas at 60%: 94.0% of the possible hits, at least 95% are wanted"],
        ),
        (
            [GOOD, run("peer", 0.6, 0.5, 800.0)],
            ["prefix, 4 replicas at 60%: TTFT p90 is 0.88 times peer's, at most 0.8 wanted"],
        ),
        (
            [GOOD, run("headgate random", 0.6, 0.5, 600.0, is_ours=True)],
            ["prefix, 4 replicas at 60%: TTFT p90 is 1.17 times headgate random's, at most 1 wanted"],
        ),
        ([run("peer", 0.6, 0.5, 600.0)], []),
        ([GOOD, run("peer", 0.6, 0.0, None)], []),
    ],
)
def test_every_target_that_was_missed_is_named(others: list[dict[str, Any]], missed: list[str]) -> None:
    assert misses(found(*others)) == missed
