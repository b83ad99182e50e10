"""A specification names its replicas, and its options become a command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from engines.spec import EngineSpec, FolderSource, Option, options


def spec(**changes: object) -> EngineSpec:
    known: dict[str, object] = {"model": "m", "engine": "vllm", "source": FolderSource(Path("files"))}
    return EngineSpec(**known | changes)  # type: ignore[arg-type]


def test_one_replica_without_gpus_is_the_default() -> None:
    assert spec().replicas == ("m-0",)
    assert spec().gpus == ((),)


def test_there_is_a_replica_for_each_set_of_gpus() -> None:
    assert spec(gpus=(("0", "1"), ("2", "3"))).replicas == ("m-0", "m-1")
    assert spec(gpus=()).replicas == ()


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
