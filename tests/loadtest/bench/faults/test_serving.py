"""A gateway in a process of its own, whose configuration changes while it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtest.bench.faults.serving import outcomes, serving
from loadtest.record import Record
from loadtest.simulator import SimulatedEngine


def configuration(*engines: SimulatedEngine) -> str:
    urls = [engine.address for engine in engines]
    return f'[gateway]\naccess_log = "off"\n[models.m]\nengine = "remote"\nurls = {urls}\n'.replace("'", '"')


@pytest.mark.slow
async def test_it_takes_over_another_configuration(tmp_path: Path) -> None:
    async with (
        SimulatedEngine("m", uds=tmp_path / "a") as one,
        SimulatedEngine("m", uds=tmp_path / "b") as two,
        serving(configuration(one)) as gateway,
    ):
        await gateway.until("m", lambda replicas: [each["ready"] for each in replicas] == [True])
        await gateway.reconfigure(configuration(one, two))
        await gateway.until("m", lambda replicas: [each["ready"] for each in replicas] == [True, True])
        assert (await gateway.model("m"))["running"] == 0
        with pytest.raises(AssertionError, match="urls"):
            await gateway.reconfigure(configuration())


def test_requests_are_counted_by_what_became_of_them() -> None:
    records = [
        Record(0.0, sent=0.0, last=1.0, status=200),
        Record(0.0, sent=0.0, status=503, error="status 503"),
        Record(0.0, sent=0.0, status=503, error="status 503"),
        Record(0.0, sent=0.0, error="the connection was closed"),
    ]
    assert outcomes(records) == {"503: status 503": 2, "cut: the connection was closed": 1, "ok": 1}
