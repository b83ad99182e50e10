"""A tenant is served beside another that sends far more than its share."""

from __future__ import annotations

from typing import Any

import pytest

from loadtest.bench.scheduling.fairness import FairnessSettings, chart, measure, misses, table

# The queue is one over both processes, but a request only displaces one that waits in its own: with a queue as short as
# the engine all that wait could be in the other.
SMALL = FairnessSettings(
    processes=(2,),
    engines=1,
    slots=8,
    max_queue=32,
    ttft=0.2,
    inter_token=0.01,
    tokens=(5, 20),
    times=10.0,
    warm_up=0.5,
    seconds=1.0,
)


@pytest.mark.slow
async def test_every_request_of_the_quiet_tenant_is_served_beside_the_loud_one() -> None:
    lines: list[str] = []
    found = await measure(lines.append, SMALL)
    assert [(run["processes"], run["loud"]) for run in found["runs"]] == [(2, False), (2, True)]
    assert len(lines) == 2
    for run in found["runs"]:
        assert run["p99_ttft_ms"] >= run["p50_ttft_ms"] >= 200
        assert (run["others"] > 0) is run["loud"]
    assert found["runs"][1]["outcomes"] == {"ok": found["runs"][1]["requests"]}
    assert found["runs"][1]["others_served"] < found["runs"][1]["others"]


def run(processes: int, p99: int, *, loud: bool, refused: int = 0) -> dict[str, Any]:
    return {
        "processes": processes,
        "loud": loud,
        "requests": 100,
        "outcomes": {"ok": 100 - refused, "503: status 503": refused},
        "p50_ttft_ms": 1000,
        "p99_ttft_ms": p99,
        "others": 5000 if loud else 0,
        "others_served": 50 if loud else 0,
    }


FOUND = {
    "times": 100.0,
    "runs": [
        run(1, 2000, loud=False),
        run(1, 2900, loud=True),
        run(2, 2000, loud=False),
        run(2, 3100, loud=True, refused=2),
    ],
}


def test_what_was_found_is_told_beside_what_is_wanted() -> None:
    assert misses(FOUND) == [
        "fairness, 2 processes: 2 of 100 requests were not served",
        "fairness, 2 processes: TTFT p99 is 1.55 times alone, at most 1.5 wanted",
    ]
    rows = table(FOUND).splitlines()
    assert rows[3] == "| 1 | yes | 1,000 | 2,900 | 1.45 | 0 of 100 | 50 of 5,000 |"
    assert rows[5] == "| 2 | yes | 1,000 | 3,100 | 1.55 | 2 of 100 | 50 of 5,000 |"
    assert "beside the other" in chart(FOUND).file()
