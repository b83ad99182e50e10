"""Published models are part of the configuration, also after a restart, and never half."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.config.models import OnnxModel, adapters_of
from gateway.config.schema import Config, names_of
from gateway.tuning.published import NotServable, PublishedModel, PublishedModels, added

_SHA = "0" * 64
_MODELS = {
    "base": {"engine": "onnx", "source": "/m", "tasks": ["embed"]},
    "chat": {"engine": "vllm", "source": "/c", "adapters": {}},
    "plain": {"engine": "vllm", "source": "/p"},
}


def configured(**gateway: Any) -> Config:
    return Config.model_validate({"gateway": gateway, "models": _MODELS})


def classifier(at: Path, **other: Any) -> PublishedModel:
    told = {"job": "ftjob-1", "name": "ft:base:acme::1", "base": "base", "kind": "classifier", "owner": ""}
    options = {"tasks": ["classify"], "labels": ["a", "b"], "golden": {"text": "x", "answer": [0.5]}}
    return PublishedModel(**(told | {"folder": str(at), "options": options} | other))


def test_a_classifier_is_a_model_of_its_own(tmp_path: Path) -> None:
    config = added(configured(), classifier(tmp_path))
    model = config.models["ft:base:acme::1"]
    assert isinstance(model, OnnxModel)
    assert (model.source, model.labels, model.required) == (str(tmp_path), ("a", "b"), False)  # type: ignore[attr-defined]
    # What other processes are sent is checked there again.
    assert Config.model_validate_json(config.model_dump_json(exclude_unset=True)).models == config.models


def test_an_adapter_is_one_of_its_base(tmp_path: Path) -> None:
    config = added(configured(), classifier(tmp_path, base="chat", kind="lora", options={}))
    assert adapters_of(config.models["chat"]) == {"ft:base:acme::1": str(tmp_path)}
    assert Config.model_validate_json(config.model_dump_json(exclude_unset=True)).models == config.models


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"name": "base"}, "'base' is a model, an alias or an adapter already"),
        ({"folder": "/none"}, "its folder /none is not there"),
        ({"options": {"tasks": ["nothing"]}}, "what the training says of it is not valid: tasks"),
        ({"options": {"tasks": ["classify"], "colour": 1}}, "colour is not an option"),
        ({"kind": "lora", "base": "plain"}, "takes no adapters"),
        ({"kind": "lora", "base": "gone"}, "'gone' is not there"),
    ],
)
def test_what_does_not_go_with_the_configuration_is_told(other: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(NotServable, match=reason):
        added(configured(), classifier(tmp_path, **other))


def test_only_what_is_kept_is_there_after_a_restart(tmp_path: Path) -> None:
    first = PublishedModels(tmp_path / "models")
    for number in (1, 2):
        first.try_out(classifier(tmp_path, job=f"ftjob-{number}", name=f"ft:base:acme::{number}"))
    first.keep("ftjob-2")
    assert [model.job for model in first] == ["ftjob-1", "ftjob-2"]
    again = PublishedModels(tmp_path / "models")
    assert list(again) == []
    again.read()
    assert [model.job for model in again] == ["ftjob-2"]
    assert again.remove("ftjob-2")
    assert not again.remove("ftjob-2")
    last = PublishedModels(tmp_path / "models")
    last.read()
    assert list(last) == []


def test_what_cannot_be_served_is_left_out_and_told_once(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "ftjob-3.json").write_text("{")
    published = PublishedModels(tmp_path / "models")
    published.read()
    published.try_out(classifier(tmp_path / "none"))
    published.try_out(classifier(tmp_path, job="ftjob-2", name="ft:base:acme::2"))
    for _ in range(2):
        config = published.applied_to(configured())
    assert names_of(config) == {"base", "chat", "plain", "ft:base:acme::2"}
    first, second = published.new_troubles()
    assert "ftjob-3.json describes no fine-tuned model" in first
    assert "ft:base:acme::1 is not served: its folder" in second
    assert published.new_troubles() == []


def test_a_key_that_may_use_some_models_may_use_what_it_has_made(tmp_path: Path) -> None:
    keys = [
        {"id": "a", "sha256": _SHA, "models": ["base"], "group": "g"},
        {"id": "b", "sha256": "1" * 64, "models": ["base"], "group": "g"},
        {"id": "c", "sha256": "2" * 64},
    ]
    config = configured(keys=keys, groups={"g": {"models": ["base", "chat"]}})
    gateway = added(config, classifier(tmp_path, owner="a")).gateway
    assert [key.models for key in gateway.keys] == [("base", "ft:base:acme::1"), ("base",), ()]
    assert gateway.groups["g"].models == ("base", "chat", "ft:base:acme::1")
    assert added(config, classifier(tmp_path, owner="c")).gateway.keys == config.gateway.keys
