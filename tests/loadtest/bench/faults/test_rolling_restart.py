"""No request fails while every replica is restarted, one after the other."""

from __future__ import annotations

import pytest

from loadtest.bench.faults.rolling_restart import RollingSettings, measure


@pytest.mark.slow
async def test_no_request_fails_while_replicas_are_restarted() -> None:
    lines: list[str] = []
    # Few are in flight at once, also where a busy machine takes long: the pool may ask only some of them again.
    found = await measure(lines.append, RollingSettings(replicas=3, rate=20.0, tokens=10))
    assert [line.partition(":")[0] for line in lines] == ["announced", "killed"]
    for way in ("announced", "killed"):
        assert found[way]["outcomes"] == {"ok": found[way]["requests"]}
        assert found[way]["requests"] > 20
