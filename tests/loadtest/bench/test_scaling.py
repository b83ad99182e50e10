"""The points of a curve, and what is put on the gateway for each."""

import pytest

from loadtest.bench.deployment import DeploymentSpec
from loadtest.bench.scaling import CURVES, GatewayLoad, measure

BY_NAME = {curve.name: curve for curve in CURVES}


def test_each_curve_goes_as_far_as_the_project_promises() -> None:
    assert {curve.name: (curve.values[0], curve.values[-1]) for curve in CURVES} == {
        "connections": (1, 10_000),
        "replicas": (1, 1000),
        "models": (1, 1000),
        "keys": (1, 100_000),
        "processes": (1, 4),
        "body": (200, 10_000_000),
        "events": (1, 10_000),
    }
    assert [curve.name for curve in CURVES if curve.limit is None] == ["body"]


def test_every_key_and_model_is_used() -> None:
    requests = GatewayLoad(spec=DeploymentSpec(models=100, keys=64)).requests("h")
    assert {
        model for each in requests for one in each for model in [one.partition(b'"model":"')[2].split(b'"')[0]]
    } == {b"model-%d" % number for number in range(100)}
    keys = {one.partition(b"Bearer ")[2].split(b"\r")[0] for each in requests for one in each}
    assert keys == {b"sk-bench-%d" % (number * 2) for number in range(32)}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["replicas", "events", "processes"])
async def test_every_point_is_measured_in_every_round(name: str) -> None:
    curve = BY_NAME[name]
    told: list[str] = []
    found = await measure(curve, curve.values[:2], seconds=0.05, rounds=2, log=told.append)
    assert [point["value"] for point in found["points"]] == list(curve.values[:2])
    for point in found["points"]:
        assert point["failed"] == 0
        assert point["responses"] > 0
        assert len(point["rounds"]) == 2
        assert point["cpu_us"] > 0
        assert ("steady_cpu_us" in point) is (curve.rate is not None)
        assert {"resident_mib", "idle_cpu_percent", "scrape_cpu_ms"} <= set(point)
        assert point["p99_us"] >= point["p50_us"] > 0
    assert found["points"][0]["times_first"] == found["points"][0]["times_cheapest"] == 1
    assert len(told) == 4
