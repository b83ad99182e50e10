"""A configuration as values: never changed, never at odds with itself."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gateway.config import ALL_TASKS, Config

REMOTE: dict[str, Any] = {"engine": "remote", "urls": ["http://a"]}


def test_a_configuration_never_changes() -> None:
    config = Config.model_validate({"models": {"m": REMOTE}})
    with pytest.raises(ValidationError, match="frozen"):
        config.gateway.listen = "0.0.0.0:1"  # type: ignore[misc]
    with pytest.raises(TypeError, match="does not support item assignment"):
        config.models["n"] = config.models["m"]  # type: ignore[index]


ONNX = {"engine": "onnx", "source": "./a"}


@pytest.mark.parametrize(
    ("model", "tasks"),
    [
        (REMOTE, ALL_TASKS),
        (REMOTE | {"tasks": ["embed", "score"]}, ("embed", "score")),
        ({"engine": "vllm", "source": "a/b"}, ("generate",)),
        (ONNX | {"tasks": ["classify"]}, ("classify", "pooling")),
        (ONNX | {"tasks": ["classify"], "moderation": {"hate": ["rude"]}}, ("classify", "pooling", "moderate")),
        (ONNX | {"tasks": ["moderate", "classify"], "moderation": {"x-a": ["b"]}}, ("classify", "pooling", "moderate")),
        (ONNX | {"tasks": ["embed"]}, ("embed", "pooling", "score")),
        (ONNX | {"tasks": ["score", "embed"]}, ("embed", "pooling", "score")),
        (ONNX | {"tasks": ["score"]}, ("score", "classify", "pooling")),
        (ONNX | {"tasks": ["classify", "score"]}, ("score", "classify", "pooling")),
        (ONNX | {"tasks": ["token_classify"]}, ("token_classify", "pooling")),
    ],
)
def test_what_a_model_can_do_depends_on_its_engine(model: dict[str, Any], tasks: tuple[str, ...]) -> None:
    assert Config.model_validate({"models": {"m": model}}).models["m"].tasks_here == tasks


@pytest.mark.parametrize(
    ("engine", "gpus", "has_gpu", "expected"),
    [
        ("vllm", None, True, 1),
        ("vllm", None, False, 0),
        ("vllm", 2, True, 2),
        ("vllm", 0, True, 0),
        ("onnx", None, True, 0),
    ],
)
def test_gpus_of_each_replica(engine: str, gpus: int | None, has_gpu: bool, expected: int) -> None:
    tasks = ["embed"] if engine == "onnx" else []
    given = {} if gpus is None else {"gpus": gpus}
    config = Config.model_validate({"models": {"m": {"engine": engine, "source": "a/b", "tasks": tasks, **given}}})
    assert config.models["m"].gpus_each(has_gpu=has_gpu) == expected


def test_clashes_are_found_in_a_configuration_that_was_not_read_from_a_file() -> None:
    model = REMOTE | {"aliases": ["n"]}
    with pytest.raises(ValidationError, match=r"models\.m\.aliases: 'n' already names 'n'"):
        Config.model_validate({"models": {"m": model, "n": model | {"aliases": []}}})


def test_a_configuration_survives_the_way_to_another_process() -> None:
    key = {"id": "alice", "sha256": "0" * 64}
    package = {"package": "a==1", "files": {"model.onnx": {"path": "a/b", "sha256": "1" * 64}}}
    onnx = {"engine": "onnx", "tasks": ["embed"], "source": package}
    config = Config.model_validate(
        {"gateway": {"keys": [key], "cache": "/c", "limits": {"max_n": 3}}, "models": {"m": REMOTE, "n": onnx}}
    )
    assert Config.model_validate_json(config.model_dump_json(exclude_unset=True)) == config
