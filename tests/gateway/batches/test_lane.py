"""A lane fills what is idle, leaves some free, and makes room at once for interactive requests that wait."""

from __future__ import annotations

import asyncio

import pytest

from gateway.batches import lane as batch_lane
from gateway.batches.lane import Lane
from gateway.batches.window import Window
from gateway.pools.admission import Admission
from gateway.pools.policies.round_robin import RoundRobin
from gateway.pools.pool import Pool
from gateway.pools.queue import LOWEST_CLASS, Ticket
from gateway.pools.replica import ReplicaState
from tests.gateway.pools.made import Clock, replica
from tests.kit.waiters import Waiter


def lane(limit: int | None = 16, window: float = 64.0, most: int = 64, queue: int = 99) -> Lane:
    pool = Pool("m", [replica("a")], policy=RoundRobin(), admission=Admission(limit, queue))
    return Lane(pool, most, Window(window, window))


class Lines:
    """Lines that are under way for as long as nobody stops them, each with a slot."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.tasks: list[asyncio.Task[bool]] = []

    def begin(self, number: int) -> None:
        for _ in range(number):
            slot = Waiter(ticket=Ticket(priority=LOWEST_CLASS))
            assert self.lane.pool.admission.admit(slot)
            task = asyncio.get_running_loop().create_task(asyncio.Event().wait())
            self.tasks.append(task)
            self.lane.begun(task)
            task.add_done_callback(lambda task, slot=slot: self._ended(task, slot))  # type: ignore[misc]

    def _ended(self, task: asyncio.Task[bool], slot: Waiter) -> None:
        self.lane.ended(task)
        self.lane.pool.admission.release(slot)

    async def stopped(self) -> list[int]:
        """Let the loop run, and tell which were stopped."""
        for _ in range(3):
            await asyncio.sleep(0)
        return [number for number, task in enumerate(self.tasks) if task.cancelled()]

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.lane.close()


@pytest.mark.parametrize(
    ("limit", "window", "most", "room"),
    [(16, 64.0, 64, 14), (16, 5.9, 64, 5), (16, 64.0, 3, 3), (1, 64.0, 64, 1), (2, 64.0, 64, 1), (None, 9.0, 64, 9)],
)
def test_room_is_what_window_bound_and_slots_leave_but_for_some_that_are_kept_free(
    limit: int | None, window: float, most: int, room: int
) -> None:
    assert lane(limit, window, most).room == room


async def test_slots_that_others_take_are_not_room() -> None:
    made = lane(16)
    for _ in range(10):
        made.pool.admission.admit(Waiter())
    assert made.room == 4
    lines = Lines(made)
    lines.begin(4)
    assert (made.room, made.running) == (0, 4)
    await lines.stop()


async def test_the_youngest_yield_at_once_one_for_each_request_that_waits() -> None:
    made = lane(4)
    lines = Lines(made)
    lines.begin(4)
    first, second = Waiter(), Waiter()
    assert not made.pool.admission.admit(first)
    assert not made.pool.admission.admit(second)
    assert await lines.stopped() == [2, 3]
    assert (first.slots, second.slots) == (1, 1)
    assert made.room == 0
    assert made.window.size == 32.0
    await lines.stop()


async def test_a_line_that_waits_stops_no_other() -> None:
    made = lane(2)
    lines = Lines(made)
    lines.begin(2)
    assert not made.pool.admission.admit(Waiter(ticket=Ticket(priority=LOWEST_CLASS)))
    assert await lines.stopped() == []
    assert made.room == 0
    await lines.stop()


async def test_where_no_replica_is_ready_nothing_is_stopped_and_one_line_waits_for_it() -> None:
    made = lane(4)
    lines = Lines(made)
    lines.begin(1)
    made.pool.set_waits(10.0, None)
    made.pool.replicas[0].set_state(ReplicaState.RESTARTING)
    assert made.room == 0
    assert not made.pool.admission.admit(Waiter())
    assert await lines.stopped() == []
    await lines.stop()
    waits = lane(4)
    waits.pool.set_waits(10.0, None)
    waits.pool.set_on_demand(on_demand=True)
    waits.pool.replicas[0].set_state(ReplicaState.STOPPED)
    assert waits.room == 1


def test_it_grows_while_lines_take_as_long_as_at_first() -> None:
    made = Lane(Pool("m", [replica("a")], policy=RoundRobin(), admission=Admission(None, 99)), 64)
    for _ in range(3):
        made._filled = True
        for _ in range(4):
            made.answered(2.0, 100)
    assert made.window.size == 8.0


def test_a_refusal_halves_it_once_in_a_round() -> None:
    made = lane(None, 16.0)
    for _ in range(5):
        made.refused()
    assert made.window.size == 8.0


def test_what_makes_a_few_lines_slow_is_not_the_load_of_the_engine() -> None:
    made = lane(None, 64.0)
    for seconds in (1.0, 1.0, 9.0):
        for number in range(64):
            made.answered(seconds if number % 2 else 1.0, 1)
    assert made.window.size == 64.0


def test_an_idle_engine_is_measured_anew_now_and_then(clock: Clock) -> None:
    made = lane(None, 64.0)
    for seconds, passed, expected in ((1.0, 0, 64.0), (9.0, 0, 32.0), (9.0, 601, 1.0), (9.0, 1, 1.0)):
        clock.now += passed
        for _ in range(64):
            made.answered(seconds, 1)
        assert made.window.size <= expected


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(batch_lane, "perf_counter", made)
    return made


def interactive(lane: Lane, number: int) -> None:
    for _ in range(number):
        lane.pool.replicas[0].load.entered()


def ended(lane: Lane, number: int) -> None:
    for _ in range(number):
        lane.pool.replicas[0].load.left()


async def test_lines_begin_one_by_one_evenly_spread(clock: Clock) -> None:
    made = lane(None, 8.0)
    assert made.room == 8
    made.answered(2.0, 1)
    interactive(made, 5)
    assert (made.room, made.starts_in) == (1, 0.0)
    lines = Lines(made)
    lines.begin(1)
    assert made.room == 0
    assert made.starts_in == pytest.approx(0.2)
    clock.now += 0.2
    assert (made.room, made.starts_in) == (1, 0.0)
    await lines.stop()


async def test_lines_that_are_alone_catch_up_with_what_was_late_up_to_an_eighth_of_the_window(clock: Clock) -> None:
    made = lane(None, 40.0)
    made.answered(2.0, 1)
    lines = Lines(made)
    assert made.room == 7
    lines.begin(7)
    for seconds, room in ((0.0, 0), (0.09, 2), (10.0, 7)):
        clock.now += seconds
        assert made.room == room
    await lines.stop()


def test_what_was_found_out_beside_interactive_requests_holds_at_once_when_they_come_back(clock: Clock) -> None:
    made = lane(None, 64.0)
    interactive(made, 1)
    for _ in range(64):
        made.answered(1.0, 1)
    for _ in range(2):
        for _ in range(64):
            made.answered(9.0, 1)
    beside = made.window.size
    assert beside < 64.0
    ended(made, 1)
    clock.now += 4.9
    assert (made.room > 0, made.window.size) == (True, beside)
    clock.now += 0.2
    assert (made.room > 0, made.window.size) == (True, 64.0)
    interactive(made, 1)
    assert (made.room > 0, made.window.size) == (True, beside)


async def test_lines_that_began_while_alone_say_nothing_of_the_load_beside_interactive_requests(clock: Clock) -> None:
    made = lane(None, 4.0)
    for _ in range(4):
        made.answered(1.0, 1)
    lines = Lines(made)
    lines.begin(4)
    interactive(made, 5)
    for _ in range(4):
        made.answered(9.0, 1)
    for _ in range(3):
        made.answered(9.0, 1)
    assert made.window.size == 4.0
    made.answered(9.0, 1)
    assert made.window.size == 2.0
    await lines.stop()
