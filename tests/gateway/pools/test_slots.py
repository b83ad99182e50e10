"""Slots are taken up to the limit, and the time between two freed slots counts only while all are taken."""

from __future__ import annotations

import pytest

from gateway.pools.slots import LocalSlots
from tests.gateway.pools.made import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock.installed(monkeypatch)


def test_slots_are_taken_up_to_the_limit_and_not_past_a_queue() -> None:
    slots = LocalSlots(2)
    assert [slots.try_take() for _ in range(3)] == [True, True, False]
    assert repr(slots) == "<LocalSlots [2 of 2 taken]>"
    slots.show_queue(1, 0, 0)
    assert slots.give_back(0)
    assert not slots.try_take()
    assert slots.next_is_here()
    slots.show_queue(0, 0, 0)
    assert slots.try_take()


def test_the_gap_between_two_freed_slots_counts_while_others_wait_for_them(clock: Clock) -> None:
    slots = LocalSlots(1)
    slots.try_take()
    for _ in range(100):
        clock.now += 3.0
        slots.give_back(0)
        slots.take(0)
    assert slots.expected_gap() == pytest.approx(3.0, rel=0.01)
    slots.give_back(0)
    clock.now += 3600.0
    slots.try_take()
    clock.now += 3.0
    slots.give_back(0)
    assert slots.expected_gap() == pytest.approx(3.0, rel=0.11)
