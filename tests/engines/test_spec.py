"""A specification names its replicas, and its options become a command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from engines.spec import EngineSpec, FolderSource, Option, SleepMode, options


def spec(**changes: object) -> EngineSpec:
    known: dict[str, object] = {"model": "m", "engine": "vllm", "source": FolderSource(Path("files"))}
    return EngineSpec(**known | changes)  # type: ignore[arg-type]


def test_one_replica_without_gpus_is_the_default() -> None:
    assert (spec().replicas, spec().gpus) == (1, 0)


def test_what_needs_no_restart_makes_no_difference() -> None:
    assert spec() == spec(replicas=3, startup_timeout=7.0)
    assert spec() != spec(gpus=1)
    assert spec() != spec(args={"dtype": "float16"})


def test_an_engine_that_can_sleep_serves_where_none_has_to_and_at_any_level() -> None:
    shallow, deep = spec(sleep=SleepMode(1, most=2)), spec(sleep=SleepMode(2, most=4))
    assert shallow.serves(deep)
    assert deep.serves(spec())
    assert not spec().serves(deep)


def test_a_specification_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        spec().model = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        spec().args["dtype"] = "float16"  # type: ignore[index]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({}, []),
        ({"max-model-len": 2048}, ["--max-model-len", "2048"]),
        ({"max_model_len": 2048}, ["--max-model-len", "2048"]),
        ({"gpu-memory-utilization": 0.9}, ["--gpu-memory-utilization", "0.9"]),
        ({"enforce-eager": True}, ["--enforce-eager"]),
        ({"enforce-eager": False}, []),
        ({"max-num-seqs": 1, "stream-interval": 0}, ["--max-num-seqs", "1", "--stream-interval", "0"]),
        ({"lora-modules": ["a=/a", "b=/b"], "seed": 1}, ["--lora-modules", "a=/a", "b=/b", "--seed", "1"]),
        ({"chat-template": "a b; rm -rf $HOME"}, ["--chat-template", "a b; rm -rf $HOME"]),
    ],
)
def test_options_become_words(args: Mapping[str, Option], words: list[str]) -> None:
    assert options(args) == words


def test_engines_that_are_ready_for_higher_ranks_serve_lower_ones() -> None:
    assert spec(lora_rank=32).serves(spec(lora_rank=16))
    assert spec(lora_rank=16).serves(spec())
    assert not spec(lora_rank=16).serves(spec(lora_rank=32))
    assert not spec(lora_rank=32).serves(spec(gpus=1))
