"""Slots are handed out once and come back once, and those who wait are served in their order."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway import admission as admission_module
from gateway.admission import Admission, Slot
from gateway.errors import Unavailable


@dataclass
class Clock:
    """A clock that stands until it is moved."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(admission_module, "perf_counter", clock)
    return clock


@dataclass(eq=False)
class Waiter:
    """Someone in the queue, who notes the slot that it got."""

    slots: list[Slot] = field(default_factory=list)

    def granted(self, slot: Slot) -> None:
        self.slots.append(slot)


def taken(admission: Admission) -> Slot:
    slot = admission.admit(lambda _: None)
    assert slot is not None
    return slot


def test_slots_are_given_up_to_the_limit() -> None:
    admission = Admission(2, max_queue=1)
    taken(admission)
    taken(admission)
    assert admission.admit(lambda _: None) is None
    assert repr(admission) == "<Admission [2 running, 1 waiting; limit 2]>"


def test_without_a_limit_everyone_runs() -> None:
    admission = Admission(None, max_queue=0)
    for _ in range(100):
        taken(admission)
    assert repr(admission) == "<Admission [100 running, 0 waiting; no limit]>"


def test_a_slot_given_back_twice_counts_once() -> None:
    admission = Admission(2, max_queue=0)
    slot = taken(admission)
    taken(admission)
    slot.release()
    slot.release()
    assert admission.running == 1


def test_a_freed_slot_goes_to_the_one_who_waited_longest() -> None:
    admission = Admission(1, max_queue=2)
    slot = taken(admission)
    first, second = Waiter(), Waiter()
    assert admission.admit(first.granted) is None
    assert admission.admit(second.granted) is None
    slot.release()
    assert (len(first.slots), len(second.slots)) == (1, 0)
    first.slots[0].release()
    assert len(second.slots) == 1
    second.slots[0].release()
    assert (admission.running, admission.waiting) == (0, 0)


def test_who_has_withdrawn_is_passed_over() -> None:
    admission = Admission(1, max_queue=2)
    slot = taken(admission)
    first, second = Waiter(), Waiter()
    admission.admit(first.granted)
    admission.admit(second.granted)
    admission.withdraw(first.granted)
    admission.withdraw(first.granted)
    slot.release()
    assert (len(first.slots), len(second.slots)) == (0, 1)


def test_nobody_overtakes_the_queue() -> None:
    admission = Admission(1, max_queue=2)
    taken(admission)
    waiter = Waiter()
    admission.admit(waiter.granted)
    admission.limit = 2
    assert admission.admit(lambda _: None) is None


def test_a_full_queue_refuses_and_says_when_to_come_again(clock: Clock) -> None:
    admission = Admission(1, max_queue=1)
    slot = taken(admission)
    admission.admit(Waiter().granted)
    for _ in range(100):
        clock.now += 4.0
        waiter = Waiter()
        slot.release()
        slot = taken_after_queue(admission, waiter)
    with pytest.raises(Unavailable, match=r"All 1 slots of this model are taken and 1 requests wait already\.") as full:
        admission.admit(lambda _: None)
    assert full.value.retry_after == pytest.approx(8.0, rel=0.01)


def taken_after_queue(admission: Admission, waiter: Waiter) -> Slot:
    """Put a waiter behind the one that was just granted, and give a slot that stands for the granted one."""
    admission.admit(waiter.granted)
    return Slot(admission)


def test_idle_time_does_not_make_the_expected_wait_longer(clock: Clock) -> None:
    admission = Admission(1, max_queue=1)
    for _ in range(100):
        slot = taken(admission)
        clock.now += 2.0
        slot.release()
        clock.now += 3600.0
    assert admission.expected_wait() == pytest.approx(2.0, rel=0.01)


def test_the_expected_wait_stays_between_a_second_and_a_minute(clock: Clock) -> None:
    admission = Admission(1, max_queue=1)
    assert admission.expected_wait() == 1.0
    slot = taken(admission)
    clock.now += 10_000.0
    slot.release()
    assert admission.expected_wait() == 60.0


def test_the_oldest_wait_is_that_of_the_queues_head(clock: Clock) -> None:
    admission = Admission(1, max_queue=5)
    assert admission.oldest_wait(clock.now) == 0.0
    taken(admission)
    admission.admit(Waiter().granted)
    clock.now += 2.0
    admission.admit(Waiter().granted)
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
        self.held: list[Slot] = []
        self.queue: list[Waiter] = []

    @rule()
    def ask(self) -> None:
        waiter = Waiter()
        try:
            slot = self.admission.admit(waiter.granted)
        except Unavailable:
            assert len(self.queue) == 4
            return
        if slot is None:
            self.queue.append(waiter)
        else:
            self.held.append(slot)

    @precondition(lambda self: self.held)
    @rule()
    def finish(self) -> None:
        slot = self.held.pop(0)
        slot.release()
        slot.release()
        for waiter in [waiter for waiter in self.queue if waiter.slots]:
            assert waiter is self.queue[0]
            self.queue.remove(waiter)
            self.held += waiter.slots

    @precondition(lambda self: self.queue)
    @rule()
    def give_up(self) -> None:
        waiter = self.queue.pop()
        self.admission.withdraw(waiter.granted)

    @invariant()
    def counts_are_true(self) -> None:
        assert self.admission.running == len(self.held) <= 3
        assert self.admission.waiting == len(self.queue)
        assert not self.queue or len(self.held) == 3


TestAnyOrder = AnyOrder.TestCase
