"""The beat keeps time, and the end comes in three phases."""

from __future__ import annotations

import asyncio
import gc
import resource
import sys
from collections.abc import Iterator

import pytest

from gateway.lifecycle import (
    Heart,
    allow_files,
    cancelled,
    drain,
    hold_the_interpreter_briefly,
    spare_the_collector,
)


class Plane:
    """A data plane that writes down what is asked of it."""

    def __init__(self, *, busy: bool) -> None:
        self.said: list[str] = []
        self._idle = asyncio.Event()
        if not busy:
            self._idle.set()

    def announce_end(self) -> None:
        self.said.append("announce_end")

    def stop_accepting(self) -> None:
        self.said.append("stop_accepting")

    async def idle(self) -> None:
        await self._idle.wait()
        self.said.append("idle")

    def cancel_all(self) -> None:
        self.said.append("cancel_all")


async def test_a_drain_announces_then_stops_accepting_then_waits_for_the_running() -> None:
    plane = Plane(busy=False)
    assert await drain(plane, delay=0.0, within=5.0)
    assert plane.said == ["announce_end", "stop_accepting", "idle"]


async def test_what_does_not_finish_in_time_is_cancelled() -> None:
    plane = Plane(busy=True)
    assert not await drain(plane, delay=0.0, within=0.01)
    assert plane.said == ["announce_end", "stop_accepting", "cancel_all"]


async def test_the_heart_beats_measures_its_lag_and_survives_a_failing_tick() -> None:
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))
    beats: list[float] = []
    lags: list[float] = []
    third = asyncio.Event()

    def tick(now: float) -> None:
        beats.append(now)
        if len(beats) == 1:
            raise RuntimeError("a tick that fails")
        if len(beats) == 3:
            third.set()

    heart = Heart(tick, lags.append)
    before = heart.last_beat
    heart.start()
    await asyncio.wait_for(third.wait(), 10)
    heart.stop()
    assert beats == sorted(beats)
    assert len(lags) == 3
    assert min(lags) >= 0.0
    assert heart.last_beat > before
    assert [str(failure) for failure in failures] == ["a tick that fails"]


async def test_any_number_can_wait_for_the_next_beat_and_for_the_one_after() -> None:
    beats: list[float] = []
    heart = Heart(beats.append, lambda _: None)

    async def wait_twice() -> list[int]:
        seen = []
        for _ in range(2):
            await heart.next_beat()
            seen.append(len(beats))
        return seen

    heart.start()
    seen = await asyncio.wait_for(asyncio.gather(*(wait_twice() for _ in range(3))), 10)
    heart.stop()
    assert seen == [[1, 2]] * 3


async def test_cancelled_tasks_have_ended() -> None:
    tasks = [asyncio.create_task(asyncio.Event().wait()) for _ in range(3)]
    await asyncio.sleep(0)
    await cancelled(tasks)
    assert all(task.done() for task in tasks)


@pytest.fixture
def limit() -> Iterator[tuple[int, int]]:
    """Have few files for the time of a test."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
    yield 512, before[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_as_many_files_are_allowed_as_are_wanted_and_the_system_has(limit: tuple[int, int]) -> None:
    soft, hard = limit
    assert allow_files(100) == soft
    assert allow_files(1000) == 1000
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (1000, hard)
    assert allow_files(hard + 1) == hard


def test_a_busy_thread_gives_the_interpreter_back_within_a_millisecond() -> None:
    before = sys.getswitchinterval()
    try:
        hold_the_interpreter_briefly()
        assert sys.getswitchinterval() < 0.001
    finally:
        sys.setswitchinterval(before)


def test_what_lives_for_ever_is_spared_by_the_collector() -> None:
    before = gc.get_threshold()
    try:
        spare_the_collector()
        assert gc.get_freeze_count() > 0
        assert gc.get_threshold()[0] > before[0]
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
