"""Both are measured while the default gateway serves, and while it trains."""

from __future__ import annotations

import pytest

from loadtest.bench.faults.tuning_beside import BesideSettings, measure


@pytest.mark.slow
async def test_the_waits_alone_and_beside_a_job_are_compared() -> None:
    said: list[str] = []
    found = await measure(said.append, BesideSettings(rounds=1, seconds=0.5))
    assert found["p99_times"] == round(found["beside_p99_ms"] / found["alone_p99_ms"], 2)
    assert min(found["alone_p50_ms"], found["beside_p50_ms"]) > 0
    assert len(said) == 1
