"""When a second replica is asked: late means later than 95 % of the answers, and of requests at most 5 %."""

from __future__ import annotations

import pytest

from gateway.pools.hedge_budget import HedgeBudget


def test_nothing_is_late_before_it_is_known_how_long_answers_take() -> None:
    hedging = HedgeBudget()
    for _ in range(19):
        assert hedging.asked() is None
        hedging.answered(0.01)
    assert repr(hedging) == "<HedgeBudget [not known yet; 0.95 saved]>"


def test_late_is_later_than_95_percent_of_the_answers() -> None:
    hedging = HedgeBudget()
    for number in range(20):
        hedging.answered(number / 1000)
    assert hedging.delay == 0.019
    for number in range(50):
        hedging.answered(0.1 + number / 1000)
    assert hedging.asked() == pytest.approx(0.146)


def test_the_latest_thousand_answers_count() -> None:
    hedging = HedgeBudget()
    for seconds in (5.0, 0.01):
        for _ in range(1000):
            hedging.answered(seconds)
    # It was taken anew a few answers ago.
    for _ in range(50):
        hedging.answered(0.01)
    assert hedging.delay == 0.01


def test_one_in_twenty_requests_may_be_hedged() -> None:
    hedging = HedgeBudget()
    hedged = 0
    for _ in range(1000):
        hedging.asked()
        hedged += hedging.spend()
    assert hedged in (49, 50)


def test_a_quiet_time_saves_up_ten_hedges() -> None:
    hedging = HedgeBudget()
    for _ in range(10_000):
        hedging.asked()
    assert repr(hedging) == "<HedgeBudget [not known yet; 10.00 saved]>"
    assert [hedging.spend() for _ in range(11)] == [True] * 10 + [False]
