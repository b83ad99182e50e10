"""A trace is replayed through each gateway to engines that know nothing, and their hits are counted."""

from __future__ import annotations

import pytest

from loadtest.bench.prefix.gateways import given, ours
from loadtest.bench.prefix.measure import PrefixSettings, measure
from loadtest.traces import TraceRequest

# Two conversations of six turns each.
TRACE = [
    TraceRequest(0.1 * turn, 512 * (turn + 1) + 100, 8, tuple(range(100 * talk, 100 * talk + turn + 1)))
    for turn in range(6)
    for talk in (1, 2)
]


@pytest.mark.slow
async def test_hits_are_a_share_of_those_that_are_possible_and_failures_are_counted() -> None:
    # At this load a turn comes more than a second after the one before it, whose prefix is in a cache by then.
    settings = PrefixSettings(requests=12, cached_share=4.0, replicas=(2,), loads=(0.005,), speed=4.0)
    said: list[str] = []
    candidates = [ours("prefix"), given("broken=false {port} {urls}")]
    found = await measure(TRACE, candidates, settings, said.append)
    assert (found["requests"], found["distinct_tokens"], found["failed"]) == (12, 12 * 512, 0)
    assert found["ceiling"] == pytest.approx(2 * 15 * 512 / found["prompt_tokens"])
    good, broken = found["runs"]
    assert (good["gateway"], good["replicas"], good["load"], good["failed"]) == ("headgate prefix", 2, 0.005, 0)
    # The simulator has smaller blocks than the trace, so a little more can be found.
    assert 0.9 <= good["hit_share"] <= 1.1
    assert good["p90_ttft_ms"] >= good["p50_ttft_ms"] > 0
    assert (broken["failed"], broken["hits"], broken["p90_ttft_ms"]) == (12, 0, None)
    assert "broken does not run: false ended with status 1" in "\n".join(said)
