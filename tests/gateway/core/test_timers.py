"""A timer wheel visits its members soon after their moments, never before, and in their order."""

from __future__ import annotations

import asyncio
from time import perf_counter

from gateway.core.timers import SLOT_SECONDS, TimerWheel


class Visits:
    """Notes who was visited when."""

    def __init__(self, expected: int) -> None:
        self.seen: list[tuple[str, float]] = []
        self._expected = expected
        self._all = asyncio.Event()

    def __call__(self, member: str, now: float) -> None:
        self.seen.append((member, now))
        if len(self.seen) == self._expected:
            self._all.set()

    async def complete(self) -> None:
        await asyncio.wait_for(self._all.wait(), 10)


async def test_members_are_visited_in_the_order_of_their_moments_and_never_too_early() -> None:
    visits = Visits(3)
    wheel: TimerWheel[str] = TimerWheel(visits)
    began = perf_counter()
    due = {"late": began + 0.09, "soon": began + 0.03, "middle": began + 0.06}
    for member, at in due.items():
        wheel.file(at, member)
    assert repr(wheel) == "<TimerWheel [3 filed]>"
    await visits.complete()
    assert [member for member, _ in visits.seen] == ["soon", "middle", "late"]
    assert all(now >= due[member] for member, now in visits.seen)
    assert repr(wheel) == "<TimerWheel [0 filed]>"


async def test_those_of_one_slot_are_visited_together() -> None:
    visits = Visits(100)
    wheel: TimerWheel[str] = TimerWheel(visits)
    at = (int(perf_counter() / SLOT_SECONDS) + 3) * SLOT_SECONDS
    for number in range(100):
        wheel.file(at, str(number))
    await visits.complete()
    assert len({now for _, now in visits.seen}) == 1


async def test_a_visit_may_file_again() -> None:
    visits = Visits(2)

    def visit(member: str, now: float) -> None:
        visits(member, now)
        if len(visits.seen) == 1:
            wheel.file(now + 0.02, member)

    wheel: TimerWheel[str] = TimerWheel(visit)
    wheel.file(perf_counter(), "again")
    await visits.complete()
    assert [member for member, _ in visits.seen] == ["again", "again"]


async def test_a_wheel_that_is_stopped_visits_nobody() -> None:
    visits = Visits(1)
    wheel: TimerWheel[str] = TimerWheel(visits)
    wheel.file(perf_counter(), "never")
    wheel.stop()
    await asyncio.sleep(3 * SLOT_SECONDS)
    assert visits.seen == []
