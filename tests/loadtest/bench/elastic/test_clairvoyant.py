"""A scaler that knows the future orders replicas before they are needed, keeps them where that is cheaper, and skips
what is not worth a start."""

from __future__ import annotations

import pytest

from loadtest.bench.elastic.clairvoyant import Schedule, clairvoyant, plan
from loadtest.bench.elastic.fleet import Demand, FleetSettings, simulate
from loadtest.bench.elastic.rules import Fixed
from loadtest.simulator.profile import Profile
from loadtest.traces import TraceRequest

TENTH_EACH = Profile(step=0.1, num_blocks=10_000)


def ready(*bursts: tuple[int, float], seconds: int = 100, start: float = 10.0, worth: float = 1.0) -> list[int]:
    """Plan for seconds in which one replica misses so many requests, and two none."""
    alone = [dict(bursts).get(second, 0.0) for second in range(seconds)]
    return plan([alone, [0.0] * seconds], start, worth)


def test_what_is_worth_a_start_gets_one_for_its_seconds() -> None:
    assert ready((50, 12.0)) == [*[1] * 50, 2, *[1] * 49]


def test_what_is_not_worth_a_start_is_missed() -> None:
    assert ready((50, 10.0)) == [1] * 100
    assert ready((50, 10.0), worth=2.0)[50] == 2


def test_one_is_kept_where_that_costs_less_than_another_start() -> None:
    near, far = ready((50, 20.0), (58, 20.0)), ready((50, 20.0), (70, 20.0))
    assert near[49:60] == [1, *[2] * 9, 1]
    assert far[49:72] == [1, 2, *[1] * 19, 2, 1]


def test_it_begins_with_one_and_pays_for_the_others_from_the_first_second_on() -> None:
    assert ready((0, 10.0)) == [1] * 100
    assert ready((0, 12.0))[:2] == [2, 1]


def test_replicas_are_ordered_as_long_before_as_their_start_takes() -> None:
    rule = Schedule([*[1] * 50, 2, 2, *[1] * 20], 9.5)
    said = [rule(Demand(float(now), 1, 0, 0, 0, 0)) for now in range(80)]
    assert [now for now, number in enumerate(said) if number == 2] == list(range(40, 52))


@pytest.fixture
def settings() -> FleetSettings:
    return FleetSettings(TENTH_EACH, 10.0, slots=1)


def test_it_costs_less_than_the_fleet_that_is_always_there(settings: FleetSettings) -> None:
    quiet = [TraceRequest(float(at), 10, 1) for at in range(200)]
    burst = [TraceRequest(100.0 + at / 16, 10, 1) for at in range(160)]
    trace = sorted([*quiet, *burst], key=lambda each: each.at)
    fleets = [simulate(trace, settings, Fixed(number), at_first=number) for number in (1, 2)]
    assert fleets[0].attained < 0.9 < fleets[1].attained
    found = clairvoyant(trace, settings, fleets, 0.98)
    assert found.attained >= 0.98 * fleets[1].attained
    assert found.replica_seconds < 0.7 * fleets[1].replica_seconds


def test_where_no_schedule_reaches_the_goodput_it_is_that_fleet(settings: FleetSettings) -> None:
    trace = [TraceRequest(float(at), 10, 1) for at in range(50)]
    fleets = [simulate(trace, settings, Fixed(number), at_first=number) for number in (1, 2)]
    assert clairvoyant(trace, settings, fleets, 1.01, rounds=2) is fleets[1]
