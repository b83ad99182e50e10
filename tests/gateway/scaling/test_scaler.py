"""Each model has as many replicas as its demand needs; one that is idle gives way where there is no room."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from gateway.pools.pool import Pool
from gateway.scaling.decide import Decision, ScalingRule
from gateway.scaling.scaler import ScaledModel, Scaler
from tests.gateway.pools.made import pool, replica
from tests.kit.waiters import Waiter

TO_ZERO = ScalingRule(least=0, most=4, target=2.0, idle=10.0)


class Engines:
    """Engines that are there as soon as they are wanted, as far as there is room."""

    def __init__(self) -> None:
        self.wanted: Mapping[str, int] = {}
        self.room = 100
        self.leaving = 0

    def scale(self, numbers: Mapping[str, int]) -> None:
        self.wanted = numbers

    def number(self, model: str) -> int:
        before = 0
        for name, number in self.wanted.items():
            here = min(number, self.room - before)
            if name == model:
                return here
            before += here
        return 0

    def start_seconds(self, model: str) -> float | None:
        return 4.0


class Scaled:
    """A scaler over models without traffic until a test makes some."""

    def __init__(self, **rules: ScalingRule) -> None:
        self.engines = Engines()
        self.said: list[tuple[str, int, Decision]] = []
        self.scaler = Scaler(self.engines, self._changed)
        self.pools: dict[str, Pool] = {name: pool(name) for name in rules}
        self.scaler.apply(rules, self.pools)

    def _changed(self, model: ScaledModel, before: int, decision: Decision) -> None:
        self.said.append((model.name, before, decision))

    def ask(self, model: str, times: int = 1) -> list[Waiter]:
        waiters = [Waiter() for _ in range(times)]
        for each in waiters:
            self.pools[model].admission.admit(each)
        return waiters


@pytest.fixture
def one() -> Scaled:
    return Scaled(m=TO_ZERO)


def test_a_model_begins_with_as_few_as_it_may_have() -> None:
    assert Scaled(m=ScalingRule(2, 4, 2.0, 10.0)).engines.wanted == {"m": 2}


def test_a_request_starts_one_and_idleness_stops_it(one: Scaled) -> None:
    waiters = one.ask("m", 2)
    one.scaler.tick(0.0)
    assert one.engines.wanted == {"m": 1}
    for each in waiters:
        one.pools["m"].admission.release(each)
    for second in range(1, 15):
        one.scaler.tick(float(second))
    assert one.engines.wanted == {"m": 0}
    assert [(name, before, decision.replicas, decision.reason) for name, before, decision in one.said] == [
        ("m", 0, 1, "wake"),
        ("m", 1, 0, "idle"),
    ]
    (model,) = one.scaler.models
    assert dict(model.decisions) == {"wake": 1, "idle": 1}


def test_where_there_is_no_room_an_idle_model_gives_way() -> None:
    both = Scaled(a=TO_ZERO, b=TO_ZERO)
    both.engines.room = 1
    (waiter,) = both.ask("a")
    both.scaler.tick(0.0)
    both.pools["a"].admission.release(waiter)
    both.ask("b")
    both.scaler.tick(5.0)
    assert both.engines.wanted == {"a": 1, "b": 1}
    both.scaler.tick(5.1)
    assert both.engines.wanted == {"a": 0, "b": 1}
    assert both.said[-1] == ("a", 1, Decision(0, "evicted"))


def test_nothing_gives_way_while_room_is_being_made_or_when_all_are_busy() -> None:
    both = Scaled(a=TO_ZERO, b=TO_ZERO)
    both.engines.room = 1
    (waiter,) = both.ask("a")
    both.ask("b")
    both.scaler.tick(0.0)
    both.scaler.tick(0.1)
    assert both.engines.wanted == {"a": 1, "b": 1}
    both.pools["a"].admission.release(waiter)
    both.engines.leaving = 1
    for tenth in range(2, 60):
        both.scaler.tick(tenth / 10)
    assert both.engines.wanted == {"a": 1, "b": 1}


def test_other_rules_hold_from_the_next_moment_and_what_is_known_stays(one: Scaled) -> None:
    one.ask("m", 8)
    one.scaler.tick(0.0)
    assert one.engines.wanted == {"m": 4}
    one.scaler.apply({"m": ScalingRule(0, 2, 2.0, 10.0)}, one.pools)
    assert one.engines.wanted == {"m": 2}
    (model,) = one.scaler.models
    assert dict(model.decisions) == {"wake": 1}
    one.scaler.apply({}, {})
    assert one.engines.wanted == {}


def test_answers_of_replicas_that_have_gone_still_count(one: Scaled) -> None:
    first, second = replica("a"), replica("b")
    made = one.pools["m"]
    made.add(first)
    first.succeeded()
    first.succeeded()
    one.scaler.tick(0.0)
    made.remove(first)
    made.add(second)
    second.succeeded()
    one.scaler.tick(1.0)
    (model,) = one.scaler.models
    assert model.answers == 3


def test_reprs_tell_what_is_desired(one: Scaled) -> None:
    assert repr(one.scaler) == "<Scaler [m: 0]>"
