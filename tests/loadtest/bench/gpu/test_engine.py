"""How the engine is started, and what it says of itself."""

import os
import tomllib
from pathlib import Path

import pytest

from gateway.config.load import load
from loadtest.bench.gpu.engine import Compared, NoGpu, cache_size, check_gpu, configuration, described
from loadtest.bench.gpu.shapes import SHAPES
from loadtest.simulator import Profile, SimulatedEngine


def test_the_configuration_is_one_that_the_gateway_takes(tmp_path: Path) -> None:
    (tmp_path / "keys.txt").write_text(f"alice {'0' * 64}\n")
    file = tmp_path / "models.toml"
    file.write_text(configuration(SHAPES["8b"].with_args({"max-num-seqs": "64", "enforce-eager": True}), tmp_path))
    load(file)
    model = tomllib.loads(file.read_text())["models"]["8b"]
    assert model["source"] == str(tmp_path)
    assert model["args"]["load-format"] == "dummy"
    assert model["args"]["max-num-seqs"] == "64"
    assert model["args"]["enforce-eager"] is True


def test_a_shape_that_needs_a_gpu_is_refused_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(NoGpu, match="the shape 8b needs a GPU, and there is none; --shape 135m runs without"):
        check_gpu(SHAPES["8b"])
    check_gpu(SHAPES["135m"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    check_gpu(SHAPES["8b"])


async def test_an_engine_says_its_version_and_its_cache() -> None:
    async with SimulatedEngine("m", profile=Profile(num_blocks=100, block_size=16)) as running:
        found = await described(Compared("m", "", running.address, "", os.getpid()))
    assert (found["num_blocks"], found["block_size"]) == (100, 16)
    assert found["vllm"]


def test_a_cache_of_unknown_size_has_none() -> None:
    assert cache_size('vllm:cache_config_info{num_gpu_blocks="None",block_size="16"} 1.0\n') == {}
    assert cache_size("") == {}


def test_the_gateway_has_used_processor_time() -> None:
    assert Compared("m", "", "", "", os.getpid()).gateway_cpu_seconds > 0
