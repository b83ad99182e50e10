"""How quickly a model is to answer."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gateway.config.schema import Config
from gateway.config.slo import Slo
from gateway.pools.build import RegistryBuilder
from tests.kit.gateways import remote


def test_there_are_no_objectives_but_those_that_are_given() -> None:
    assert Slo().objectives == {}
    assert Slo(ttft=0.5, e2e=10.0).objectives == {"ttft": 0.5, "e2e": 10.0}


@pytest.mark.parametrize("given", [{"ttft": 0}, {"tpot": -1.0}, {"e2e": "1s"}, {"tfft": 1.0}])
def test_an_objective_that_is_none_is_a_mistake(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Slo.model_validate(given)


def test_the_model_has_the_objectives_of_its_table() -> None:
    models = {"m": remote("http://127.0.0.1:1", slo={"ttft": 0.5}), "n": remote("http://127.0.0.1:1")}
    registry = RegistryBuilder().build(Config.model_validate({"models": models}))
    assert {model.name: dict(model.slo) for model in registry.models} == {"m": {"ttft": 0.5}, "n": {}}
    # What is counted differently is no reason for a pool of its own.
    assert len(registry.pools) == 1
