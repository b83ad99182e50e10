"""A fleet in virtual time: requests wait for replicas that start, and replicas that leave finish what they have."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loadtest.bench.elastic.fleet import Demand, FleetRun, FleetSettings, Objective, simulate
from loadtest.bench.elastic.rules import Fixed
from loadtest.simulator.profile import Profile
from loadtest.traces import TraceRequest

SECOND_EACH = Profile(step=0.1, num_blocks=10_000)
"""Ten tokens take a second, however many sequences run."""


def settings(start_seconds: float = 0.0, slots: int = 2) -> FleetSettings:
    return FleetSettings(SECOND_EACH, start_seconds, slots=slots)


def requests(*moments: float, tokens: int = 10) -> list[TraceRequest]:
    return [TraceRequest(at, 10, tokens) for at in moments]


def test_a_request_that_finds_a_slot_is_answered_at_the_engines_speed() -> None:
    run = simulate(requests(0.0), settings(), Fixed(1), at_first=1)
    # A tenth of a second for each token is more than the objective's 50 ms.
    assert run.attained == 0.0
    assert simulate(requests(0.0, tokens=1), settings(), Fixed(1), at_first=1).attained == 1.0


def test_what_finds_no_slot_waits_and_may_be_late() -> None:
    together = requests(*[0.0] * 100, tokens=1)
    assert simulate(together, settings(slots=2), Fixed(1), at_first=1).attained == pytest.approx(0.4, abs=0.04)
    assert simulate(together, settings(slots=2), Fixed(3), at_first=3).attained == 1.0


def test_what_waits_for_longer_than_it_may_is_refused_and_leaves_its_time_to_others() -> None:
    burst = requests(*[0.0] * 30, *[3.0 + second for second in range(10)], tokens=10)
    in_time = Objective(tpot=0.2)
    patient = FleetSettings(SECOND_EACH, 0.0, slots=2, objective=in_time)
    # Two are answered each second, from the first on: the queue is as long as the burst has left it.
    assert simulate(burst, patient, Fixed(1), at_first=1).attained == pytest.approx(4 / 40, abs=0.06)
    refusing = replace(patient, queue_timeout=1.5)
    assert simulate(burst, refusing, Fixed(1), at_first=1).attained == pytest.approx(14 / 40, abs=0.06)


def test_a_replica_serves_when_its_start_is_over_and_costs_from_the_order_on() -> None:
    def two_from(moment: float) -> FleetRun:
        return simulate(
            requests(*range(100), tokens=1), settings(10.0), lambda seen: 1 + (seen.now >= moment), at_first=1
        )

    late, early = two_from(60.0), two_from(20.0)
    assert early.replica_seconds - late.replica_seconds == pytest.approx(40.0)
    assert late.replicas[59:61] == [1, 1]
    assert late.replicas[61] == 2


def test_one_that_is_let_go_finishes_its_requests_first() -> None:
    seen: list[Demand] = []

    def shrinking(demand: Demand) -> int:
        seen.append(demand)
        return 2 if demand.now < 32 else 1

    run = simulate(requests(0.0, 0.0, tokens=100), settings(slots=1), shrinking, at_first=2)
    assert seen[-1].answered == 0 or seen[-1].running < 2
    assert run.changes == 1
    # Both ran at once, each on a replica of its own, and neither was begun again.
    assert run.seconds == pytest.approx(41.0, abs=1.0)
    assert max(run.demand) == 2


def test_rules_see_what_starts_and_what_waits() -> None:
    seen: list[Demand] = []

    def watching(demand: Demand) -> int:
        seen.append(demand)
        return 3

    simulate(requests(*[0.0] * 8), settings(5.0, slots=1), watching, at_first=1)
    assert (seen[1].ready, seen[1].starting, seen[1].replicas) == (1, 2, 3)
    busiest = max(seen, key=lambda each: each.requests)
    assert (busiest.running, busiest.waiting) == (3, 5)
