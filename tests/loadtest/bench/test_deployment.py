"""A deployment is a real gateway with everything switched on."""

import hashlib
import os
from pathlib import Path

import pytest

from gateway.config.load import load
from gateway.config.models import RemoteModel
from loadtest.bench.cores import cores, on
from loadtest.bench.crowd import request
from loadtest.bench.deployment import DidNotStart, Plan, deployed, instant_engine
from tests.kit.wire import Wire


def test_the_configuration_is_valid_and_has_everything_switched_on(tmp_path: Path) -> None:
    plan = Plan(replicas=3, models=2, keys=5, processes=2)
    (tmp_path / "keys.txt").write_text(plan.keys_file())
    (tmp_path / "models.toml").write_text(plan.configuration("http://127.0.0.1:9000", tmp_path))
    config = load(tmp_path / "models.toml")
    model = config.models["model-1"]
    assert isinstance(model, RemoteModel)
    assert model.urls == tuple(f"http://127.0.0.{host}:9000" for host in (1, 2, 3))
    assert model.limits.max_in_flight == 4096
    assert config.gateway.processes == 2
    assert config.gateway.access_log == str(tmp_path / "access.jsonl")
    assert [key.sha256 for key in config.gateway.keys] == [
        hashlib.sha256(f"sk-bench-{number}".encode()).hexdigest() for number in range(5)
    ]


@pytest.mark.slow
async def test_it_serves_on_its_core_until_the_block_ends() -> None:
    plan = Plan(keys=3)
    load, wanted = cores()
    with on(load):
        async with instant_engine() as engine, deployed(plan, engine) as gateway:
            assert os.sched_getaffinity(gateway.pid) == wanted
            assert os.sched_getaffinity(0) == load
    async with instant_engine() as engine, deployed(plan, engine) as gateway:
        async with await Wire.connect_to(gateway.address) as wire:
            await wire.send(request("bench", "sk-wrong", plan.model(0)))
            assert (await wire.response()).status == 401
            await wire.send(request("bench", plan.key(2), plan.model(0)))
            assert (await wire.response()).json["id"] == "chatcmpl-instant"
        assert gateway.resident_bytes > 10_000_000
        assert gateway.cpu_seconds > 0
        assert "headgate_requests_total" in (await gateway.page("/metrics")).text
    assert gateway.resident_bytes == 0


@pytest.mark.slow
async def test_what_a_process_said_is_told_when_it_does_not_start() -> None:
    async with instant_engine() as engine:
        with pytest.raises(DidNotStart, match="max_in_flight"):
            async with deployed(Plan(max_in_flight=-1), engine):
                pass
