"""Slots are handed out once and come back once, and those who wait are served in their order."""

from __future__ import annotations

import pytest
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.core.errors import Unavailable
from gateway.pools.admission import Admission
from gateway.pools.slots import LocalSlots
from tests.gateway.pools.made import Clock
from tests.kit.waiters import Waiter


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock.installed(monkeypatch)


def take(admission: Admission) -> None:
    assert admission.admit(Waiter())


def test_slots_are_given_up_to_the_limit() -> None:
    admission = Admission(2, max_queue=1)
    take(admission)
    take(admission)
    assert not admission.admit(Waiter())
    assert repr(admission) == "<Admission [2 running, 1 waiting; limit 2]>"


def test_without_a_limit_everyone_runs() -> None:
    admission = Admission(None, max_queue=0)
    for _ in range(100):
        take(admission)
    assert repr(admission) == "<Admission [100 running, 0 waiting; no limit]>"


def test_a_freed_slot_goes_to_the_one_who_waited_longest() -> None:
    admission = Admission(1, max_queue=2)
    take(admission)
    first, second = Waiter(), Waiter()
    assert not admission.admit(first)
    assert not admission.admit(second)
    admission.release(Waiter())
    assert (first.slots, second.slots) == (1, 0)
    admission.release(Waiter())
    assert second.slots == 1
    admission.release(Waiter())
    assert (admission.running, admission.waiting) == (0, 0)


def test_who_has_withdrawn_is_passed_over() -> None:
    admission = Admission(1, max_queue=2)
    take(admission)
    first, second = Waiter(), Waiter()
    admission.admit(first)
    admission.admit(second)
    admission.withdraw(first)
    admission.withdraw(first)
    admission.release(Waiter())
    assert (first.slots, second.slots) == (0, 1)


def test_nobody_overtakes_the_queue() -> None:
    slots = LocalSlots(1)
    admission = Admission(1, max_queue=2, new_slots=lambda *_: slots)
    take(admission)
    first, second = Waiter(), Waiter()
    assert not admission.admit(first)
    slots.limit = 3
    assert not admission.admit(second)
    # Both are served as soon as anybody looks.
    assert (first.slots, second.slots) == (1, 1)


def test_a_full_queue_refuses_and_says_when_to_come_again(clock: Clock) -> None:
    admission = Admission(1, max_queue=1)
    take(admission)
    admission.admit(Waiter())
    for _ in range(100):
        clock.now += 4.0
        admission.release(Waiter())
        admission.admit(Waiter())
    with pytest.raises(Unavailable, match=r"All 1 slots of this model are taken and 1 requests wait already\.") as full:
        admission.admit(Waiter())
    assert full.value.retry_after == pytest.approx(8.0, rel=0.01)


def test_idle_time_does_not_make_the_expected_wait_longer(clock: Clock) -> None:
    admission = Admission(1, max_queue=1)
    for _ in range(100):
        take(admission)
        clock.now += 2.0
        admission.release(Waiter())
        clock.now += 3600.0
    assert admission.expected_wait() == pytest.approx(2.0, rel=0.01)


def test_the_expected_wait_stays_between_a_second_and_a_minute(clock: Clock) -> None:
    admission = Admission(1, max_queue=1)
    assert admission.expected_wait() == 1.0
    take(admission)
    clock.now += 10_000.0
    admission.release(Waiter())
    assert admission.expected_wait() == 60.0


def test_the_oldest_wait_is_that_of_the_queues_head(clock: Clock) -> None:
    admission = Admission(1, max_queue=5)
    assert admission.oldest_wait(clock.now) == 0.0
    take(admission)
    admission.admit(Waiter())
    clock.now += 2.0
    admission.admit(Waiter())
    assert admission.oldest_wait(clock.now) == 2.0


def test_a_wait_that_was_too_long_names_its_limit() -> None:
    error = Admission(1, max_queue=1).timed_out(2.5)
    assert (error.code, error.retry_after) == ("queue_timeout", 1.0)
    assert error.message == "No slot became free within 2.5 s; 0 requests are waiting for this model."


class AnyOrder(RuleBasedStateMachine):
    """Whatever is done in whatever order, counts are those of what is held."""

    def __init__(self) -> None:
        super().__init__()
        self.admission = Admission(3, max_queue=4)
        self.held = 0
        self.queue: list[Waiter] = []

    @rule()
    def ask(self) -> None:
        waiter = Waiter()
        try:
            admitted = self.admission.admit(waiter)
        except Unavailable:
            assert len(self.queue) == 4
            return
        if admitted:
            self.held += 1
        else:
            self.queue.append(waiter)

    @precondition(lambda self: self.held)
    @rule()
    def finish(self) -> None:
        self.held -= 1
        self.admission.release(Waiter())
        for waiter in [waiter for waiter in self.queue if waiter.slots]:
            assert waiter is self.queue[0]
            self.queue.remove(waiter)
            self.held += waiter.slots

    @precondition(lambda self: self.queue)
    @rule()
    def give_up(self) -> None:
        waiter = self.queue.pop()
        self.admission.withdraw(waiter)

    @invariant()
    def counts_are_true(self) -> None:
        assert self.admission.running == self.held <= 3
        assert self.admission.waiting == len(self.queue)
        assert not self.queue or self.held == 3


TestAnyOrder = AnyOrder.TestCase
