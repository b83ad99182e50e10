"""The replicas of all models: each is ready or has failed once before the start counts as done, and drains by name."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

from loadtest.simulator import SimulatedEngine
from tests.kit.eventually import eventually
from tests.kit.gateways import gateway, remote


async def test_an_engine_that_cannot_start_leaves_the_others_alone(tmp_path: Path) -> None:
    broken = {"engine": "onnx", "tasks": ["embed"], "source": str(tmp_path / "none")}
    async with SimulatedEngine("m", uds=tmp_path / "engine") as engine:
        models = {"m": remote(engine.address), "broken": broken}
        async with gateway(models, ready=["m"]) as served, await served.wire() as wire:
            async with asyncio.timeout(20):
                await served.gateway.fleet.settle()
            await wire.request("POST", "/v1/completions", {"model": "m", "prompt": "a", "max_tokens": 2})
            assert (await wire.response()).status == 200
            await wire.request("POST", "/v1/embeddings", {"model": "broken", "input": "a"})
            refused = await wire.response()
            assert (refused.status, refused.json["error"]["code"]) == (503, "no_ready_replica")
            assert "broken  onnx    0/1       failed" in served.gateway.panel()


async def test_a_replica_is_drained_by_its_name_and_nothing_else_happens_without_one(tmp_path: Path) -> None:
    async with (
        SimulatedEngine("m", uds=tmp_path / "a") as one,
        SimulatedEngine("m", uds=tmp_path / "b") as two,
        gateway({"m": remote(one.address, two.address)}) as served,
    ):
        fleet, plane = served.gateway.fleet, served.gateway.plane
        await fleet.settle()
        assert not fleet.drain_replica("m-2")
        assert [replica.name for replica in plane.registry.replicas] == ["m-0", "m-1"]
        assert fleet.drain_replica("m-0")
        await eventually(lambda: [replica.name for replica in plane.registry.replicas] == ["m-1"])
        assert fleet.is_ready("m")


async def test_a_model_without_a_ready_replica_or_of_no_name_here_is_not_ready() -> None:
    async with gateway({"m": remote("http://127.0.0.1:1")}, ready=[]) as served:
        await served.gateway.fleet.settle()
        assert not served.gateway.fleet.is_ready("m")
        assert not served.gateway.fleet.is_ready("n")


async def test_a_scaled_model_whose_engine_never_becomes_ready_says_so_and_leaves_the_others_alone(
    tmp_path: Path,
) -> None:
    broken: dict[str, Any] = {"engine": "onnx", "tasks": ["embed"], "source": str(tmp_path / "none")}
    broken |= {"hold": 0.5, "scaling": {"min": 0, "max": 4, "target": 1}}
    log = io.StringIO()
    async with SimulatedEngine("m", uds=tmp_path / "engine") as engine:
        models = {"m": remote(engine.address), "broken": broken}
        async with gateway(models, ready=["m"], log=log) as served, await served.wire() as wire:
            await wire.request("POST", "/v1/embeddings", {"model": "broken", "input": "a"})
            assert (await wire.response()).status == 503
            await wire.request("POST", "/v1/completions", {"model": "m", "prompt": "a", "max_tokens": 2})
            assert (await wire.response()).status == 200
            metrics = await served.metrics()
            assert 'headgate_replicas{model="broken",state="failed"} 1.0' in metrics
            assert 'headgate_scaling_decisions_total{model="broken",reason="from_zero"} 1.0' in metrics
            failed = [line for line in log.getvalue().splitlines() if "failed" in line]
            assert len(failed) == 1
            assert "broken-0" in failed[0]
            assert str(tmp_path / "none") in failed[0]
