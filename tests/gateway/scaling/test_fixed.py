"""A number of replicas that an operator fixes holds instead of the model's rule, until it is let go."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.config.schema import Config
from gateway.core.errors import GatewayError
from gateway.scaling.decide import ScalingRule
from gateway.scaling.fixed import FixedNumbers
from tests.gateway.pools.made import pool
from tests.gateway.scaling.test_scaler import TO_ZERO, Scaled

CONFIG = Config.model_validate(
    {
        "models": {
            "zero": {"engine": "onnx", "source": "/b", "scaling": {"min": 0, "max": 4}, "tasks": ["embed"]},
            "plain": {"engine": "vllm", "source": "a/b", "replicas": 2},
            "there": {"engine": "remote", "urls": ["http://10.0.0.1:1"], "tasks": ["generate"]},
        }
    }
)
POOLS = {name: pool(name) for name in ("zero", "plain")}


class Fixing:
    """Two models, of which one is scaled by a rule, and an operator."""

    def __init__(self) -> None:
        self.scaled = Scaled()
        self.scaled.engines.running["plain"] = 2
        self.fixed = FixedNumbers(self.scaled.scaler)
        self.fixed.follow({"zero": TO_ZERO}, POOLS)

    @property
    def wanted(self) -> dict[str, int]:
        return dict(self.scaled.engines.wanted)


def test_a_number_holds_beside_the_rules_of_others_and_through_their_changes() -> None:
    here = Fixing()
    here.fixed.scale(CONFIG, "plain", 3)
    assert here.wanted == {"zero": 0, "plain": 3}
    here.fixed.follow({"zero": ScalingRule(1, 4, 2.0, 10.0)}, POOLS)
    assert here.wanted == {"zero": 1, "plain": 3}
    assert repr(here.fixed) == "<FixedNumbers {'plain': 3}>"


def test_it_is_let_go_by_command_and_by_a_reload() -> None:
    here = Fixing()
    here.fixed.scale(CONFIG, "plain", 3)
    here.fixed.scale(CONFIG, "plain", None)
    assert here.wanted == {"zero": 0}
    here.fixed.scale(CONFIG, "zero", 3)
    here.fixed.forget()
    here.scaled.scaler.tick(0.0)
    assert here.scaled.changes("zero") == [(0, 3, "operator"), (3, 2, "surplus")]


def test_zero_puts_a_model_to_sleep_that_may_have_none() -> None:
    here = Fixing()
    here.fixed.scale(CONFIG, "zero", 3)
    here.fixed.scale(CONFIG, "zero", 0)
    here.scaled.scaler.tick(0.0)
    assert here.wanted == {"zero": 0}
    assert not here.scaled.scaler.models["zero"].rule.fixed


def test_the_number_of_a_model_that_has_gone_is_forgotten() -> None:
    here = Fixing()
    here.fixed.scale(CONFIG, "plain", 3)
    here.fixed.follow({}, {"zero": POOLS["zero"]})
    here.fixed.follow({}, POOLS)
    assert here.wanted == {}


@pytest.mark.parametrize(
    ("order", "said"),
    [
        (("plain", 0), "Without any replica 'plain' could not be asked"),
        (("plain", 65), "Expected a number of replicas from 0 to 64, not 65."),
        (("plain", -1), "Expected a number of replicas from 0 to 64, not -1."),
        (("there", 1), "run elsewhere"),
        (("missing", None), "those whose engines run here: zero, plain."),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(order: Any, said: str) -> None:
    here = Fixing()
    here.fixed.scale(CONFIG, "plain", 1)
    with pytest.raises(GatewayError, match=said):
        here.fixed.scale(CONFIG, *order)
    assert here.wanted == {"zero": 0, "plain": 1}
