"""Training takes as many steps as its time allows, and the learning rate reaches zero with the last of them."""

from __future__ import annotations

import pytest

from engines.train.schedule import Schedule


def test_with_time_enough_all_steps_are_taken() -> None:
    schedule = Schedule(100, budget=1000, pace=1)
    while not schedule.done:
        schedule.advance(1.3)
    assert schedule.step == 100


def test_with_little_time_fewer_are_planned() -> None:
    assert Schedule(100, budget=30, pace=1).total == 30


def test_at_least_one_step_is_taken() -> None:
    assert Schedule(100, budget=1, pace=10).total == 1


def test_a_slower_pace_ends_the_training_in_time() -> None:
    schedule = Schedule(100, budget=50, pace=0.5)
    assert schedule.total == 100
    while not schedule.done:
        schedule.advance(2)
    assert 48 <= schedule.seconds <= 54
    assert schedule.rate == 0


def test_a_faster_pace_makes_use_of_the_time() -> None:
    schedule = Schedule(1000, budget=50, pace=2)
    assert schedule.total == 25
    while not schedule.done:
        schedule.advance(0.5)
    assert schedule.step > 80


def test_small_changes_of_the_pace_change_no_plan() -> None:
    schedule = Schedule(100, budget=100, pace=1)
    for _ in range(50):
        schedule.advance(1.04)
    assert schedule.total == 100


def test_time_that_no_step_took_counts() -> None:
    schedule = Schedule(100, budget=100, pace=1)
    schedule.spend(50)
    schedule.advance(1)
    assert schedule.total == 50


def test_the_rate_rises_over_a_tenth_and_falls_to_the_end() -> None:
    schedule = Schedule(100, budget=1000, pace=1)
    rates = []
    while not schedule.done:
        rates.append(schedule.rate)
        schedule.advance(1)
    assert rates[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(1 / 90)


def test_a_restored_schedule_goes_on_alike() -> None:
    first = Schedule(100, budget=60, pace=1)
    for _ in range(20):
        first.advance(1.5)
    second = Schedule(7, budget=1, pace=9)
    second.restore(first.state())
    assert repr(second) == repr(first)
    assert second.rate == first.rate
