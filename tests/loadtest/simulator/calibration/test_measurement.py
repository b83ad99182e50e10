"""A simulated engine of known costs is measured, and its costs come out."""

import pytest

from loadtest.simulator import Faults, Profile, SimulatedEngine
from loadtest.simulator.calibration import measurement
from loadtest.simulator.calibration.fit import fit
from loadtest.simulator.calibration.measurement import measure, mixed
from loadtest.simulator.profile import COSTS
from loadtest.simulator.scheduler import Scheduler

KNOWN = Profile(request=0.025, step=0.05, prefill_token=0.0025, decode=0.01, attended=5e-6)
"""Slow, so that what a busy machine adds is little beside it."""


def ignore(_what: str) -> None:
    """Take no notice of the progress."""


@pytest.mark.slow
async def test_known_costs_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurement, "_PRODUCED", 8)
    async with SimulatedEngine("m", profile=KNOWN) as engine:
        points = await measure(
            engine.address, "m", prompts=[16, 128, 512], waves=[(1, 16), (8, 16), (8, 256)], tell=ignore
        )
    costs = dict(zip(COSTS, fit(points), strict=True))
    # The event loop adds to small times; what is large among them must be close.
    assert costs["step"] == pytest.approx(KNOWN.step, rel=0.5)
    assert costs["prefill_token"] == pytest.approx(KNOWN.prefill_token, rel=0.5)


async def test_a_mixed_load_is_the_same_at_each_call_and_hits_the_prefix_cache() -> None:
    async def once() -> list[tuple[int, int]]:
        async with SimulatedEngine("m", profile=Profile()) as engine:
            records = await mixed(engine.address, "m", rate=200, seconds=0.1)
            assert isinstance(engine.batch, Scheduler)
            assert engine.batch.cached_tokens >= 256
            return [(record.tokens_in, record.tokens_out) for record in records]

    first, second = await once(), await once()
    assert first == second
    assert len(first) > 5


async def test_a_request_that_fails_is_said() -> None:
    async with SimulatedEngine("m", faults=Faults(status=500)) as engine:
        with pytest.raises(RuntimeError, match="status 500"):
            await mixed(engine.address, "m", rate=10, seconds=0.1)


async def test_an_engine_that_hangs_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurement, "_PATIENCE", 0.05)
    async with SimulatedEngine("m", faults=Faults(silent=True)) as engine:
        with pytest.raises(RuntimeError, match="1 requests at once were not answered"):
            await measure(engine.address, "m", prompts=[16], waves=[], tell=ignore)
