"""How long requests still fail after the last fault is measured."""

from __future__ import annotations

import pytest

from loadtest.bench.faults.recovery_time import RecoverySettings, measure


@pytest.mark.slow
async def test_requests_fail_with_faults_and_no_longer_after_them() -> None:
    settings = RecoverySettings(replicas=2, rate=50.0, faulty_seconds=2.0, seconds_after=4.0, rounds=1)
    found = await measure(lambda _: None, settings)
    (only,) = found["rounds"]
    assert found["seconds"] == only["seconds"]
    assert only["before"].keys() - {"ok"}
    assert only["after"]["ok"] > 50
