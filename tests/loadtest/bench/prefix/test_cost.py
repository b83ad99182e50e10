"""The cost of a request is measured in each setup at each size, without a failure."""

from __future__ import annotations

import pytest

from loadtest.bench.prefix.cost import BODY_BYTES, SETUPS, measure_cost


@pytest.mark.slow
async def test_every_size_is_measured_in_each_setup() -> None:
    found = await measure_cost(seconds=0.1, rounds=1, log=lambda _: None)
    assert [point["body_bytes"] for point in found] == list(BODY_BYTES)
    assert all(point[f"{setup}_cpu_us"] > 0 for point in found for setup in SETUPS)
    assert all(point["failed"] == 0 for point in found)
