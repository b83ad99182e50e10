"""A deployment is a real gateway with everything switched on."""

import hashlib
import os
from pathlib import Path

import pytest

from gateway.config.load import load
from gateway.config.models import RemoteModel
from loadtest.bench.clients import request
from loadtest.bench.cpu_affinity import load_and_gateway_cpus, pinned_to
from loadtest.bench.deployment import DeploymentSpec, deployed, instant_engine
from loadtest.bench.launch import DidNotStart
from tests.kit.wire import Wire


def test_the_configuration_is_valid_and_has_everything_switched_on(tmp_path: Path) -> None:
    spec = DeploymentSpec(replicas=3, models=2, keys=5, processes=2)
    (tmp_path / "keys.txt").write_text(spec.keys_file())
    (tmp_path / "models.toml").write_text(spec.configuration("http://127.0.0.1:9000", tmp_path))
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


def test_keys_may_have_a_priority_and_limits(tmp_path: Path) -> None:
    spec = DeploymentSpec(keys=2, limited=True)
    (tmp_path / "keys.txt").write_text(spec.keys_file())
    (tmp_path / "models.toml").write_text(spec.configuration("http://127.0.0.1:9000", tmp_path))
    config = load(tmp_path / "models.toml").gateway
    assert {key.group for key in config.keys} == {"limited"}
    assert config.groups["limited"].priority == 1
    assert config.groups["limited"].limits.tokens_per_minute == 10**9


@pytest.mark.slow
async def test_it_serves_on_its_core_until_the_block_ends() -> None:
    spec = DeploymentSpec(keys=3)
    load, wanted = load_and_gateway_cpus()
    with pinned_to(load):
        async with instant_engine() as engine, deployed(spec, engine) as gateway:
            assert os.sched_getaffinity(gateway.pid) == wanted
            assert os.sched_getaffinity(0) == load
    async with instant_engine() as engine, deployed(spec, engine) as gateway:
        async with await Wire.connect_to(gateway.address) as wire:
            await wire.send(request("bench", "sk-wrong", spec.model(0)))
            assert (await wire.response()).status == 401
            await wire.send(request("bench", spec.key(2), spec.model(0)))
            assert (await wire.response()).json["id"] == "chatcmpl-instant"
        assert gateway.resident_bytes > 10_000_000
        assert gateway.cpu_seconds > 0
        assert "headgate_requests_total" in (await gateway.control_page("/metrics")).text
    assert gateway.resident_bytes == 0


@pytest.mark.slow
async def test_what_a_process_said_is_told_when_it_does_not_start() -> None:
    async with instant_engine() as engine:
        with pytest.raises(DidNotStart, match="max_in_flight"):
            async with deployed(DeploymentSpec(max_in_flight=-1), engine):
                pass
