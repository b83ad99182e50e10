"""Slots are handed out once and come back once, and those who wait are served in their order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.core.errors import DeadlineUnreachable, QueueFull, Unavailable
from gateway.pools.admission import Admission
from gateway.pools.queue import Ticket
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


def test_those_who_wait_are_told_by_class() -> None:
    admission = Admission(1, max_queue=9)
    take(admission)
    for priority in (0, 0, 3):
        admission.admit(Waiter(ticket=Ticket(priority=priority)))
    assert admission.waiting_by_class() == {0: 2, 3: 1}


def test_who_can_do_without_slots_hears_of_each_request_that_begins_to_wait() -> None:
    admission = Admission(1, max_queue=9)
    heard: list[int] = []
    admission.on_wait = lambda: heard.append(admission.waiting)
    take(admission)
    assert heard == []
    admission.admit(Waiter())
    admission.admit(Waiter())
    assert heard == [1, 2]


def test_free_slots_are_told_where_their_number_is_limited() -> None:
    admission = Admission(3, max_queue=9)
    take(admission)
    assert admission.free == 2
    assert Admission(None, max_queue=9).free is None
    assert Admission(None, max_queue=9, max_tokens=100).free is None


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


@pytest.mark.parametrize("max_tokens", [None, 1000])
def test_idle_time_does_not_make_the_expected_wait_longer(max_tokens: int | None, clock: Clock) -> None:
    admission = Admission(1, max_queue=1, max_tokens=max_tokens)
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


# tenants, classes and deadlines


def queued(admission: Admission, tenant: str = "", **said: Any) -> Waiter:
    waiter = Waiter(ticket=Ticket(tenant, **said))
    assert not admission.admit(waiter)
    return waiter


def test_a_tenant_with_many_requests_does_not_keep_another_waiting() -> None:
    admission = Admission(1, max_queue=100)
    take(admission)
    heavy = [queued(admission, "heavy") for _ in range(50)]
    light = queued(admission, "light")
    for _ in range(2):
        admission.release(Waiter())
    assert (heavy[0].slots, light.slots) == (1, 1)


def test_a_higher_class_goes_first() -> None:
    admission = Admission(1, max_queue=100)
    take(admission)
    usual, urgent = queued(admission), queued(admission, priority=-1)
    admission.release(Waiter())
    assert (usual.slots, urgent.slots) == (0, 1)


def at_a_pace(admission: Admission, clock: Clock, seconds: float) -> None:
    """Let slots become free so often for long enough that it is known."""
    for _ in range(100):
        clock.now += seconds
        admission.release(Waiter())
        take(admission)


def test_a_request_that_would_wait_too_long_is_refused_at_once_and_told_when_it_would_not(clock: Clock) -> None:
    admission = Admission(1, max_queue=100)
    take(admission)
    at_a_pace(admission, clock, 2.0)
    for _ in range(10):
        queued(admission, within=60.0)
    with pytest.raises(DeadlineUnreachable, match=r"expected in 20\.0 s, and the request can wait 15\.0 s") as late:
        admission.admit(Waiter(ticket=Ticket(within=15.0)))
    assert late.value.code == "deadline_unreachable"
    assert late.value.retry_after == pytest.approx(5.0, rel=0.01)
    queued(admission, within=25.0)
    # The other tenant's requests do not all come first.
    queued(admission, "light", within=5.0)
    assert admission.waiting == 12


def test_nobody_is_refused_for_a_pace_that_is_not_known() -> None:
    admission = Admission(1, max_queue=100)
    take(admission)
    for _ in range(10):
        queued(admission, within=0.001)


def test_a_tenant_that_fills_the_queue_does_not_keep_others_out() -> None:
    admission = Admission(1, max_queue=3)
    take(admission)
    heavy = [queued(admission, "heavy") for _ in range(3)]
    light = queued(admission, "light")
    assert [len(each.errors) for each in heavy] == [0, 0, 1]
    (error,) = heavy[-1].errors
    assert error.message == "All 1 slots of this model are taken and 3 requests wait already."
    assert (error.code, error.retry_after) == ("queue_full", 1.0)
    with pytest.raises(QueueFull):
        admission.admit(Waiter(ticket=Ticket("heavy")))
    assert admission.waiting == 3
    for _ in range(3):
        admission.release(Waiter())
    assert [each.slots for each in (*heavy, light)] == [1, 1, 0, 1]
    assert (admission.running, admission.waiting) == (1, 0)


def test_nothing_makes_room_for_a_request_that_cannot_wait(clock: Clock) -> None:
    admission = Admission(1, max_queue=3)
    take(admission)
    at_a_pace(admission, clock, 2.0)
    heavy = [queued(admission, "heavy") for _ in range(3)]
    with pytest.raises(QueueFull):
        admission.admit(Waiter(ticket=Ticket("light", within=0.5)))
    assert not any(each.errors for each in heavy)


# tokens


def test_tokens_are_limited_beside_requests() -> None:
    admission = Admission(None, max_queue=10, max_tokens=100)
    first, second = Waiter(ticket=Ticket(tokens=60)), Waiter(ticket=Ticket(tokens=40))
    assert admission.admit(first)
    assert admission.admit(second)
    third, small = queued(admission, tokens=50), queued(admission, tokens=1)
    admission.release(second)
    # It is its turn, and a small one does not overtake it for ever.
    assert (third.slots, small.slots) == (0, 0)
    admission.release(first)
    assert (third.slots, small.slots) == (1, 1)
    assert admission.limit is None


def test_a_request_larger_than_the_limit_runs_alone() -> None:
    admission = Admission(4, max_queue=10, max_tokens=100)
    small, large = Waiter(ticket=Ticket(tokens=10)), Waiter(ticket=Ticket(tokens=5_000))
    assert admission.admit(small)
    assert not admission.admit(large)
    admission.release(small)
    assert large.slots == 1
    next_one = queued(admission, tokens=1)
    admission.release(large)
    assert next_one.slots == 1


def test_a_full_queue_for_tokens_says_so() -> None:
    admission = Admission(None, max_queue=0, max_tokens=100)
    assert admission.admit(Waiter(ticket=Ticket(tokens=100)))
    with pytest.raises(
        QueueFull, match="All slots or all 100 tokens of this model are taken and 0 requests wait already"
    ):
        admission.admit(Waiter())


def test_a_limit_of_tokens_comes_and_goes_with_what_runs() -> None:
    admission = Admission(None, max_queue=10)
    early = Waiter(ticket=Ticket(tokens=1_000))
    assert admission.admit(early)
    admission.set_limits(None, 10, 100)
    counted = Waiter(ticket=Ticket(tokens=100))
    # What ran before there was a limit is not counted.
    assert admission.admit(counted)
    waiting = queued(admission, tokens=1)
    admission.release(early)
    assert waiting.slots == 0
    admission.set_limits(None, 10, None)
    assert waiting.slots == 1
    admission.release(counted)
    admission.release(waiting)
    assert repr(admission) == "<Admission [0 running, 0 waiting; no limit]>"


# the gate


def test_all_wait_behind_a_closed_gate_and_go_in_order_when_it_opens(clock: Clock) -> None:
    admission = Admission(2, max_queue=10)
    admission.set_open(is_open=False)
    waiters = [queued(admission) for _ in range(4)]
    admission.tick()
    admission.tick()
    assert repr(admission) == "<Admission [0 running, 4 waiting; limit 2; closed]>"
    clock.now += 500.0
    admission.set_open(is_open=True)
    assert [waiter.slots for waiter in waiters] == [1, 1, 0, 0]
    clock.now += 2.0
    admission.release(waiters[0])
    clock.now += 2.0
    admission.release(waiters[1])
    # The time behind the gate says nothing of how fast slots become free.
    assert admission.expected_wait() == 1.0


def test_without_a_limit_all_who_were_held_go_at_once() -> None:
    admission = Admission(None, max_queue=10)
    take(admission)
    admission.set_open(is_open=False)
    waiters = [queued(admission) for _ in range(4)]
    assert admission.waiting == 4
    admission.withdraw(waiters.pop())
    admission.set_open(is_open=True)
    assert [waiter.slots for waiter in waiters] == [1, 1, 1]
    assert repr(admission) == "<Admission [4 running, 0 waiting; no limit]>"


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

    @rule(is_open=st.booleans())
    def open_or_close(self, *, is_open: bool) -> None:
        self.admission.set_open(is_open=is_open)
        for waiter in [waiter for waiter in self.queue if waiter.slots]:
            assert waiter is self.queue[0]
            self.queue.remove(waiter)
            self.held += waiter.slots

    @invariant()
    def counts_are_true(self) -> None:
        assert self.admission.running == self.held <= 3
        assert self.admission.waiting == len(self.queue)
        assert not self.queue or self.held == 3 or not self.admission.open


TestAnyOrder = AnyOrder.TestCase
