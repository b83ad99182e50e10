"""Each model has as many replicas as its demand needs; one that is idle gives way where there is no room."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import pytest

from gateway.pools.pool import Pool
from gateway.scaling.decide import Reason, ScalingRule
from gateway.scaling.eviction import Holdings, Room
from gateway.scaling.scaler import Scaler
from tests.gateway.pools.made import pool, replica
from tests.kit.waiters import Waiter

TO_ZERO = ScalingRule(least=0, most=4, target=2.0, idle=10.0)


class Engines:
    """Engines that are there as soon as they are wanted, as far as there is room."""

    def __init__(self) -> None:
        self.wanted: Mapping[str, int] = {}
        self.running: dict[str, int] = {}
        self.slots = 100
        self.leaving = 0
        self.giving_way: list[str] = []

    def scale(self, numbers: Mapping[str, int], giving_way: Collection[str] = ()) -> None:
        self.wanted = numbers
        self.giving_way += giving_way

    def number(self, model: str) -> int:
        """Tell how many there are, after those that are too many have gone, and others come as far as there is room."""
        here = self.running = {name: min(number, self.wanted.get(name, 99)) for name, number in self.running.items()}
        for name, number in self.wanted.items():
            others = sum(here.values()) - here.get(name, 0)
            here[name] = max(0, min(number, self.slots - others))
        return here.get(model, 0)

    def waits_for(self, model: str) -> str:
        return "" if self.number(model) >= self.wanted[model] else f"room for {self.slots}"

    def room(self) -> Room:
        return Room(frozenset(), self.slots - sum(map(self.number, self.wanted)) + self.leaving)

    def holdings(self, model: str) -> Holdings:
        return Holdings({f"{model}-{at}": frozenset() for at in range(self.number(model))}, [0])

    def start_seconds(self, model: str) -> float | None:
        return 4.0


class Scaled:
    """A scaler over models without traffic until a test makes some."""

    def __init__(self, **rules: ScalingRule) -> None:
        self.engines = Engines()
        self.said: list[tuple[str, str, str]] = []
        self.scaler = Scaler(self.engines, lambda *words: self.said.append(words))
        self.pools: dict[str, Pool] = {name: pool(name) for name in rules}
        self.scaler.apply(rules, self.pools)

    def changes(self, model: str) -> list[tuple[int, int, Reason]]:
        return [(each.before, each.after, each.reason) for each in self.scaler.models[model].changes]

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
    assert one.changes("m") == [(0, 1, "from_zero"), (1, 0, "idle")]
    assert one.said == [
        ("m", "0 → 1 replicas", "from_zero: a request came while there was no replica"),
        ("m", "1 → 0 replicas", "idle: no request came for a while"),
    ]
    assert dict(one.scaler.models["m"].decisions) == {"from_zero": 1, "idle": 1}


def test_where_there_is_no_room_an_idle_model_gives_way() -> None:
    both = Scaled(a=TO_ZERO, b=TO_ZERO)
    both.engines.slots = 1
    (waiter,) = both.ask("a")
    both.scaler.tick(0.0)
    both.pools["a"].admission.release(waiter)
    both.ask("b")
    both.scaler.tick(5.0)
    assert both.engines.wanted == {"a": 1, "b": 1}
    both.scaler.tick(5.1)
    assert both.engines.wanted == {"a": 0, "b": 1}
    assert both.changes("a")[-1] == (1, 0, "evicted")
    assert both.engines.giving_way == ["a-0"]
    assert both.said[-1] == ("a", "1 → 0 replicas", "evicted: idle, and another model needs the room: b")


def test_nothing_gives_way_to_a_replica_that_is_only_kept() -> None:
    both = Scaled(a=TO_ZERO, b=TO_ZERO)
    both.engines.slots = 2
    asked = {"a": both.ask("a"), "b": both.ask("b", 4)}
    both.scaler.tick(0.0)
    both.scaler.tick(1.0)
    for model, waiters in asked.items():
        for each in waiters:
            both.pools[model].admission.release(each)
    for second in range(4, 9):
        both.scaler.tick(float(second))
    assert both.engines.wanted == {"a": 1, "b": 2}
    assert both.scaler.models["b"].waits_for == "room for 2"


def test_who_has_waited_longest_gets_the_room_first() -> None:
    three = Scaled(a=TO_ZERO, b=TO_ZERO, c=TO_ZERO)
    three.engines.slots = 1
    (waiter,) = three.ask("a")
    three.scaler.tick(0.0)
    three.ask("c")
    three.scaler.tick(1.0)
    three.scaler.tick(1.1)
    three.ask("b")
    three.scaler.tick(1.2)
    three.pools["a"].admission.release(waiter)
    for tenth in range(13, 50):
        three.scaler.tick(tenth / 10)
    assert three.said[-1] == ("a", "1 → 0 replicas", "evicted: idle, and another model needs the room: c")
    assert list(three.engines.wanted) == ["c", "b", "a"]


def test_a_model_that_has_fewer_than_it_should_gives_what_it_has() -> None:
    both = Scaled(a=TO_ZERO, b=TO_ZERO)
    both.engines.slots = 1
    waiters = both.ask("a", 4)
    both.scaler.tick(0.0)
    for each in waiters:
        both.pools["a"].admission.release(each)
    both.ask("b")
    for second in (4.0, 4.1):
        both.scaler.tick(second)
    assert both.changes("a") == [(0, 2, "from_zero"), (2, 0, "evicted")]
    assert both.engines.giving_way == ["a-0"]


def test_nothing_gives_way_while_room_is_being_made_or_when_all_are_busy() -> None:
    both = Scaled(a=TO_ZERO, b=TO_ZERO)
    both.engines.slots = 1
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
    one.scaler.apply({"m": ScalingRule(3, 4, 2.0, 10.0)}, one.pools)
    assert one.engines.wanted == {"m": 3}
    assert one.changes("m") == [(0, 4, "from_zero"), (4, 2, "max"), (2, 3, "min")]
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
    assert one.scaler.models["m"].answers == 3


def test_what_a_replica_waits_for_is_told_once_until_there_is_room(one: Scaled) -> None:
    one.engines.slots = 0
    one.ask("m")
    for tenth in range(5):
        one.scaler.tick(tenth / 10)
    assert one.scaler.models["m"].waits_for == "room for 0"
    assert one.said[1:] == [("m", "no room for a replica", "room for 0")]
    one.engines.slots = 1
    one.scaler.tick(1.0)
    assert one.scaler.models["m"].waits_for == ""
    one.engines.slots = 0
    one.scaler.tick(1.1)
    assert one.said[2:] == [("m", "no room for a replica", "room for 0")]


def test_a_fixed_number_holds_whatever_demand_there_is(one: Scaled) -> None:
    one.scaler.apply({"m": replace(TO_ZERO, least=2, most=2, fixed=True)}, one.pools)
    one.ask("m", 8)
    for second in range(20):
        one.scaler.tick(float(second))
    assert one.engines.wanted == {"m": 2}
    assert one.changes("m") == [(0, 2, "operator")]
    one.scaler.apply({"m": TO_ZERO}, one.pools)
    one.scaler.tick(21.0)
    assert one.engines.wanted == {"m": 4}


def test_a_model_that_was_not_scaled_begins_with_what_it_has() -> None:
    none = Scaled()
    none.engines.running["m"] = 3
    none.scaler.apply({"m": ScalingRule(1, 1, 1.0, 0.0, fixed=True)}, {"m": pool("m")})
    assert none.changes("m") == [(3, 1, "operator")]


def test_a_model_that_is_scaled_to_zero_wakes_at_the_next_request(one: Scaled) -> None:
    (waiter,) = one.ask("m")
    one.scaler.tick(0.0)
    one.pools["m"].admission.release(waiter)
    one.scaler.scale_to_zero("m")
    assert one.engines.wanted == {"m": 0}
    one.scaler.scale_to_zero("m")
    one.scaler.tick(0.1)
    assert one.engines.wanted == {"m": 0}
    one.ask("m")
    one.scaler.tick(0.2)
    assert one.changes("m") == [(0, 1, "from_zero"), (1, 0, "operator"), (0, 1, "from_zero")]


def test_what_the_last_replicas_finish_starts_no_others_and_the_next_request_does(one: Scaled) -> None:
    last = replica("m-0")
    one.pools["m"].add(last)
    one.ask("m", 2)
    last.load.entered()
    last.load.entered()
    one.scaler.tick(0.0)
    one.pools["m"].drain(last)
    one.scaler.scale_to_zero("m")
    one.scaler.tick(0.1)
    assert one.engines.wanted == {"m": 0}
    one.ask("m")
    one.scaler.tick(0.2)
    assert one.engines.wanted == {"m": 1}


def test_changes_are_kept_but_not_for_ever(one: Scaled) -> None:
    for number in range(100):
        one.scaler.apply({"m": ScalingRule(number % 2, 4, 2.0, 10.0)}, one.pools)
        one.scaler.scale_to_zero("m")
    assert len(one.changes("m")) == 20
    assert one.scaler.models["m"].decisions["operator"] == 50


def test_reprs_tell_what_is_desired(one: Scaled) -> None:
    assert repr(one.scaler) == "<Scaler [m: 0]>"
