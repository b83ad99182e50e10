"""Requests in flight are counted at each replica while one of them comes back cold."""

from __future__ import annotations

from itertools import islice, pairwise
from typing import Any

import msgspec
import pytest

from loadtest.bench.scheduling.herding import HerdingSettings, chart, conversations, measure, misses, table

SMALL = HerdingSettings(
    policies=("prefix",), replicas=3, slowdown=2.0, rate=20.0, warm_up=1.5, down=0.3, after=1.5, window=0.5
)


@pytest.mark.slow
async def test_no_request_fails_and_the_restarted_replica_is_used_again() -> None:
    found = await measure(lambda _: None, SMALL)
    (run,) = found["runs"]
    assert run["failed"] == 0
    assert run["restarted_most"] > 0
    assert run["most_after"] >= 1.0
    assert run["mean_in_flight"] > 0


def test_each_turn_of_a_conversation_begins_with_the_one_before() -> None:
    bodies = [msgspec.json.decode(each.body) for each in islice(conversations(1, at_once=1, turns=4), 9)]
    texts = [body["messages"][0]["content"] for body in bodies]
    longer = [later.startswith(before) for before, later in pairwise(texts)]
    # One conversation ends after its fourth turn at the latest, and the next one begins with another text.
    assert 5 <= sum(longer) < 8
    assert {len(text) % 200 for text in texts} == {0}


def run(policy: str, most: float) -> dict[str, Any]:
    return {
        "policy": policy,
        "mean_in_flight": 18.2,
        "most_in_a_window": 1.9,
        "most_after": most,
        "restarted_least": 0.5,
        "restarted_most": 1.0,
        "p99_ttft_ms_before": 1000,
        "p99_ttft_ms_after": 1500,
        "failed": 0,
    }


def test_what_was_found_is_told_beside_what_is_wanted() -> None:
    found = {"replicas": 16, "window": 5.0, "runs": [run("prefix", 1.62), run("round_robin", 2.0)]}
    assert misses(found) == ["herding, prefix: a replica had 1.62 times the mean, at most 1.5 wanted"]
    assert table(found).splitlines()[2] == "| **prefix** | 18.2 | 1.62 | 1.90 | 0.50 to 1.00 | 1,000 | 1,500 | 0 |"
    assert "round_robin" in chart(found).file()
