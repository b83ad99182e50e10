"""The cost of a request is measured under both policies at each size, without a failure."""

from __future__ import annotations

import pytest

from loadtest.bench.prefix.cost import BODY_BYTES, POLICIES, measure_cost


@pytest.mark.slow
async def test_every_size_is_measured_under_both_policies() -> None:
    found = await measure_cost(seconds=0.1, rounds=1, log=lambda _: None)
    assert [point["body_bytes"] for point in found] == list(BODY_BYTES)
    assert all(point[f"{policy}_cpu_us"] > 0 for point in found for policy in POLICIES)
    assert all(point["failed"] == 0 for point in found)
