"""The ticker keeps time, and a sweep visits every member of a collection, some at each tick."""

from __future__ import annotations

import asyncio

from gateway.core.ticker import Sweep, Ticker


async def test_the_ticker_ticks_measures_its_lag_and_survives_a_failing_tick() -> None:
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))
    ticks: list[float] = []
    lags: list[float] = []
    third = asyncio.Event()

    def tick(now: float) -> None:
        ticks.append(now)
        if len(ticks) == 1:
            raise RuntimeError("a tick that fails")
        if len(ticks) == 3:
            third.set()

    ticker = Ticker(tick, lags.append)
    before = ticker.last_tick
    ticker.start()
    await asyncio.wait_for(third.wait(), 10)
    ticker.stop()
    assert ticks == sorted(ticks)
    assert len(lags) == 3
    assert min(lags) >= 0.0
    assert ticker.last_tick > before
    assert [str(failure) for failure in failures] == ["a tick that fails"]


async def test_any_number_can_wait_for_the_next_tick_and_for_the_one_after() -> None:
    ticks: list[float] = []
    ticker = Ticker(ticks.append, lambda _: None)

    async def wait_twice() -> list[int]:
        seen = []
        for _ in range(2):
            await ticker.next_tick()
            seen.append(len(ticks))
        return seen

    ticker.start()
    seen = await asyncio.wait_for(asyncio.gather(*(wait_twice() for _ in range(3))), 10)
    ticker.stop()
    assert seen == [[1, 2]] * 3


def test_few_members_are_all_given_at_each_tick() -> None:
    sweep: Sweep[str] = Sweep(ticks=10, at_once=3)
    assert [sorted(sweep.next_batch({"a", "b", "c"})) for _ in range(2)] == [["a", "b", "c"]] * 2
    assert sweep.next_batch(set()) == []


def test_many_members_are_each_given_once_in_so_many_ticks() -> None:
    members = set(range(100))
    sweep: Sweep[int] = Sweep(ticks=5, at_once=3)
    for _ in range(2):
        turns = [sweep.next_batch(members) for _ in range(5)]
        assert [len(turn) for turn in turns] == [20] * 5
        assert {each for turn in turns for each in turn} == members
    sweep.next_batch(members)
    assert repr(sweep) == "<Sweep of 5 ticks [80 left]>"


def test_who_comes_within_a_sweep_has_a_turn_in_the_next() -> None:
    members = {1, 2, 3, 4}
    sweep: Sweep[int] = Sweep(ticks=2, at_once=1)
    first = sweep.next_batch(members)
    members.add(5)
    assert {*first, *sweep.next_batch(members)} == {1, 2, 3, 4}
    assert {*sweep.next_batch(members), *sweep.next_batch(members), *sweep.next_batch(members)} == {1, 2, 3, 4, 5}
