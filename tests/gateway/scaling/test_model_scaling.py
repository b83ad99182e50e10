"""Models whose engines run here have as many replicas as the configuration or an operator says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from gateway.config.schema import Config
from gateway.core.errors import ModelNotFound
from gateway.pools.registry import Registry
from gateway.scaling.decide import ScalingRule
from gateway.scaling.model_scaling import ModelScaling
from gateway.scaling.neighbours import FOLDER_PREFIX, Neighbours
from tests.gateway.pools.made import model
from tests.gateway.scaling.test_scaler import Engines


def configured(placement: str = "local", **scaling: Any) -> Config:
    local = {"engine": "onnx", "source": "/b", "tasks": ["embed"], "placement": placement}
    there = {"engine": "remote", "urls": ["http://10.0.0.1:1"]}
    models = {"scaled": {**local, "scaling": scaling}, "plain": local, "there": there}
    return Config.model_validate({"gateway": {"ray": {"address": "http://10.0.0.2:8265"}}, "models": models})


class Scaling:
    """The scaling of three models, of which one has a rule and one runs elsewhere."""

    def __init__(self, folder: Path, other: int = 0) -> None:
        self.engines, self.said, self.lines = Engines(), list[tuple[str, str, str]](), list[str]()
        self.engines.running["plain"] = 1
        self.registry = Registry([model(name) for name in ("scaled", "plain", "there")])
        own = folder / f"{FOLDER_PREFIX}{other}"
        own.mkdir()
        self.scaling = ModelScaling(
            configured(min=1, max=4),
            self.registry,
            self.engines,
            lambda *words: self.said.append(words),
            neighbours=Neighbours(own, ()),
            say=self.lines.append,
        )

    @property
    def contested(self) -> list[bool]:
        return [model.contested for model in self.scaling.scaled_models()]

    @property
    def wanted(self) -> dict[str, int]:
        return dict(self.engines.wanted)


def test_the_models_that_run_here_are_shown_with_how_they_are_scaled(tmp_path: Path) -> None:
    here = Scaling(tmp_path)
    (scaled,) = here.scaling.scaled_models()
    assert here.scaling.local_models() == {"scaled": scaled, "plain": None}
    assert (scaled.rule.least, scaled.rule.most, here.wanted) == (1, 4, {"scaled": 1})


def test_a_model_is_scaled_by_all_that_its_table_says(tmp_path: Path) -> None:
    here = Scaling(tmp_path)
    here.scaling.follow(configured(min=0, max=3, target=4.0, keep=60.0), here.registry)
    (scaled,) = here.scaling.scaled_models()
    assert scaled.rule == ScalingRule(0, 3, 4.0, 300.0, 60.0)


def test_a_number_is_fixed_through_changes_of_the_configuration_until_it_is_forgotten(tmp_path: Path) -> None:
    here = Scaling(tmp_path)
    here.scaling.scale_model("plain", 3)
    here.scaling.follow(configured(min=2, max=4), here.registry)
    assert here.wanted == {"scaled": 2, "plain": 3}
    assert ("plain", "1 → 3 replicas") in [(name, what) for name, what, _ in here.said]
    here.scaling.forget_fixed()
    assert here.wanted == {"scaled": 2}


def test_a_model_is_checked_against_the_configuration_in_force(tmp_path: Path) -> None:
    here = Scaling(tmp_path)
    with pytest.raises(ModelNotFound, match="those whose engines run here: scaled, plain"):
        here.scaling.scale_model("none", 1)
    assert here.wanted == {"scaled": 1}


def test_another_gateway_that_scales_the_same_model_is_told_once_and_serving_goes_on(tmp_path: Path) -> None:
    ours, theirs = Scaling(tmp_path), Scaling(tmp_path, other=1)
    ours.scaling.tick(0.0)
    theirs.scaling.tick(0.0)
    ours.scaling.tick(11.0)
    ours.scaling.tick(22.0)
    assert ours.contested == theirs.contested == [True]
    line = (
        f"another gateway on this machine (process {os.getpid()}) scales scaled too; neither knows which engines the "
        "other starts, nor on which GPUs"
    )
    assert ours.lines == theirs.lines == [line]
    assert ours.wanted == theirs.wanted == {"scaled": 1}
    theirs.scaling.stop()
    ours.scaling.tick(33.0)
    assert ours.contested == [False]
    assert ours.lines[1:] == ["no other gateway on this machine scales scaled any more"]


def test_replicas_on_a_cluster_are_no_matter_between_gateways_of_a_machine(tmp_path: Path) -> None:
    ours, theirs = Scaling(tmp_path), Scaling(tmp_path, other=1)
    for each in (ours, theirs):
        each.scaling.follow(configured(placement="ray", min=1, max=4), each.registry)
        each.scaling.tick(0.0)
    ours.scaling.tick(11.0)
    assert ours.contested == theirs.contested == [False]
    assert ours.lines == theirs.lines == []


def test_others_are_looked_for_now_and_then(tmp_path: Path) -> None:
    ours, theirs = Scaling(tmp_path), Scaling(tmp_path, other=1)
    ours.scaling.tick(0.0)
    theirs.scaling.tick(0.0)
    ours.scaling.tick(9.9)
    assert ours.lines == []
    ours.scaling.tick(10.0)
    assert len(ours.lines) == 1
