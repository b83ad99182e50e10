"""How many replicas there are to be: what is needed now at once, what was needed lately for a while, then fewer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.scaling.decide import Decision, Observation, ScalingRule, decide

RULE = ScalingRule(least=1, most=8, target=4.0, idle=300.0)
TO_ZERO = replace(RULE, least=0)
QUIET = Observation(replicas=1, needed=0.0, recent=0.0, peak=0.0, since_down=1e9, idle_for=0.0)


def seen(**what: Any) -> Observation:
    return replace(QUIET, **what)


def test_demand_is_answered_with_as_many_replicas_as_it_needs() -> None:
    assert decide(RULE, seen(needed=6, recent=6, peak=6)) == Decision(2, "demand")
    assert decide(RULE, seen(replicas=2, needed=13, recent=13, peak=13)) == Decision(4, "demand")


def test_replicas_that_start_are_counted_so_that_one_backlog_is_answered_once() -> None:
    assert decide(RULE, seen(replicas=4, needed=13, recent=13, peak=13)) == Decision(4, "steady")


def test_a_burst_is_not_averaged_away_when_it_is_twice_what_there_is() -> None:
    assert decide(RULE, seen(needed=8, recent=3, peak=3)) == Decision(1, "steady")
    assert decide(RULE, seen(needed=9, recent=3, peak=3)) == Decision(3, "panic")


def test_there_are_never_more_than_may_be() -> None:
    assert decide(RULE, seen(replicas=7, needed=99, recent=99, peak=99)) == Decision(8, "max")
    assert decide(RULE, seen(replicas=8, needed=99, recent=99, peak=99)).replicas == 8
    assert decide(RULE, seen(replicas=9, needed=99, recent=99, peak=99)) == Decision(8, "max")


def test_there_are_never_fewer_than_must_be() -> None:
    assert decide(replace(RULE, least=3), QUIET) == Decision(3, "min")
    assert decide(replace(RULE, least=3), seen(replicas=3)) == Decision(3, "steady")


def test_what_was_needed_lately_is_kept() -> None:
    assert decide(RULE, seen(replicas=3, peak=10.0)) == Decision(3, "peak")


def test_what_a_burst_has_started_is_kept_while_it_lasts_before_its_mean_shows_it() -> None:
    assert decide(RULE, seen(replicas=3, needed=9, recent=0.3, peak=0.3)) == Decision(3, "steady")
    assert decide(RULE, seen(replicas=3, needed=8, recent=0.3, peak=0.3)) == Decision(2, "surplus")


def test_the_way_down_is_one_at_a_time() -> None:
    assert decide(RULE, seen(replicas=5, peak=4.0)) == Decision(4, "surplus")
    assert decide(RULE, seen(replicas=4, peak=4.0, since_down=1.0)) == Decision(4, "steady")
    assert decide(RULE, seen(replicas=4, peak=4.0, since_down=5.0)) == Decision(3, "surplus")


def test_the_last_replica_goes_only_after_idleness_and_where_it_may() -> None:
    assert decide(RULE, seen(idle_for=1e6)) == Decision(1, "steady")
    assert decide(TO_ZERO, seen(idle_for=299.0)) == Decision(1, "steady")
    assert decide(TO_ZERO, seen(idle_for=300.0, peak=3.0)) == Decision(0, "idle")
    assert decide(TO_ZERO, seen(replicas=0, idle_for=1e6)) == Decision(0, "steady")


def test_the_first_request_wakes_a_model_at_once_and_fifty_wake_no_more_than_they_need() -> None:
    assert decide(TO_ZERO, seen(replicas=0, needed=1.0)) == Decision(1, "from_zero")
    assert decide(replace(TO_ZERO, target=64.0), seen(replicas=0, needed=50.0)) == Decision(1, "from_zero")


@pytest.mark.parametrize(("start", "window"), [(0.0, 20.0), (1.0, 30.0), (10.0, 300.0), (40.0, 900.0), (120.0, 900.0)])
def test_a_peak_is_remembered_the_longer_the_more_a_start_costs(start: float, window: float) -> None:
    assert RULE.window(start) == window
    assert replace(RULE, keep=7.0).window(start) == 7.0
