"""Within a window's length never more than the limit is used, and all of it can be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.sliding_window import NANOSECONDS, SlidingWindow, WindowCells

MINUTE = 60 * NANOSECONDS
START = 1_000 * NANOSECONDS


def fresh() -> SlidingWindow:
    return SlidingWindow(60, WindowCells([0], [0], [0]))


def take(window: SlidingWindow, limit: int, now: int, amount: int = 1) -> bool:
    """Use ``amount`` if it fits under ``limit``, as the limits of a key do."""
    if window.advance(now) + amount > limit:
        return False
    window.current[0] += amount
    return True


def asked(window: SlidingWindow, limit: int, *, per_minute: int, seconds: float, start: int = START) -> int:
    """Ask at an even pace for so long, and return how often it was granted."""
    every = MINUTE // per_minute
    return sum(take(window, limit, now) for now in range(start, start + int(seconds * NANOSECONDS), every))


@pytest.mark.parametrize("limit", [1, 7, 60, 1000])
def test_twice_the_limit_for_a_minute_is_granted_to_exactly_the_limit(limit: int) -> None:
    assert asked(fresh(), limit, per_minute=2 * limit, seconds=60) == limit


@pytest.mark.parametrize("limit", [10, 60, 1000])
def test_each_minute_of_a_long_overload_gets_the_limit(limit: int) -> None:
    window = fresh()
    for minute in range(10):
        granted = asked(window, limit, per_minute=2 * limit, seconds=60, start=START + minute * MINUTE)
        assert abs(granted - limit) <= 1


def test_after_a_burst_the_next_minute_is_granted_little_by_little() -> None:
    window = fresh()
    assert all(take(window, 10, START) for _ in range(10))
    assert not take(window, 10, START + MINUTE - 1)
    for tenth in range(10):
        assert take(window, 10, START + MINUTE + MINUTE * tenth // 10)
        assert not take(window, 10, START + MINUTE + MINUTE * (tenth + 1) // 10 - 1)


def test_a_pause_of_two_windows_forgets_all() -> None:
    window = fresh()
    assert take(window, 10, START, 10)
    assert (window.used(START + 2 * MINUTE - 1), window.used(START + 2 * MINUTE)) == (0, 0)
    assert take(window, 10, START + 2 * MINUTE, 10)


@given(
    limit=st.integers(1, 50),
    uses=st.lists(st.tuples(st.integers(0, 3 * MINUTE), st.integers(1, 60)), max_size=30),
)
def test_who_waits_as_long_as_told_is_granted_and_a_moment_sooner_is_not(
    limit: int, uses: list[tuple[int, int]]
) -> None:
    window, now = fresh(), START
    for pause, amount in uses:
        now += pause
        if amount <= limit and not take(window, limit, now, amount):
            wait = window.wait(amount, limit, now)
            assert wait > 0
            assert not take(window, limit, now + wait - 1, amount)
            assert take(window, limit, now + wait, amount)
            now += wait
        elif amount <= limit:
            assert window.used(now) <= limit


@given(
    limit=st.integers(1, 20),
    pauses=st.lists(st.integers(0, MINUTE), min_size=1, max_size=80),
)
def test_a_window_from_its_beginning_never_grants_more_than_the_limit(limit: int, pauses: list[int]) -> None:
    window, now, granted = fresh(), START, dict[int, int]()
    for pause in pauses:
        now += pause
        if take(window, limit, now):
            granted[window.began[0]] = granted.get(window.began[0], 0) + 1
    assert max(granted.values()) <= limit


@given(jumps=st.lists(st.integers(-100 * MINUTE, 100 * MINUTE), max_size=30))
def test_a_clock_that_jumps_grants_no_more_at_once_and_locks_nobody_out(jumps: list[int]) -> None:
    window, now = fresh(), 10_000 * MINUTE
    for jump in jumps:
        now += jump
        assert sum(take(window, 5, now) for _ in range(10)) <= 5
        assert 0 <= window.used(now) <= 10
        assert 0 <= window.reset(now) <= 2 * MINUTE
    window.advance(now)
    assert take(window, 5, now + 2 * MINUTE, 5)


def test_what_was_not_used_goes_back_to_the_window_that_it_was_taken_from() -> None:
    window = fresh()
    assert take(window, 100, START, 80)
    window.settle(-50, START, START + 1)
    assert window.used(START + 1) == 30
    assert take(window, 100, START + 1, 70)
    window.settle(-70, START, START + MINUTE)
    assert window.used(START + MINUTE) == 29
    window.settle(-30, START, START + 5 * MINUTE)
    assert window.used(START + 5 * MINUTE) == 0


def test_what_was_used_beyond_the_estimate_counts_however_late_it_is_known() -> None:
    window = fresh()
    assert take(window, 100, START, 10)
    window.settle(40, START, START + 5 * MINUTE)
    assert window.used(START + 5 * MINUTE) == 40


@given(st.lists(st.tuples(st.integers(0, MINUTE), st.integers(-100, 100)), max_size=30))
def test_no_correction_makes_a_window_negative(corrections: list[tuple[int, int]]) -> None:
    window, now = fresh(), START
    take(window, 100, START, 20)
    for pause, correction in corrections:
        now += pause
        window.settle(correction, START, now)
        assert window.used(now) >= 0


def test_a_window_says_when_it_is_as_if_unused() -> None:
    window = fresh()
    assert window.reset(START) == 0
    take(window, 10, START)
    assert window.reset(START) == MINUTE
    take(window, 10, START)
    assert window.reset(START) == MINUTE + MINUTE // 2
    assert window.used(START + window.reset(START) - 1) == 1
    assert window.used(START + window.reset(START)) == 0


def test_a_window_that_is_cleared_was_never_used() -> None:
    window = fresh()
    take(window, 10, START, 10)
    window.clear()
    assert window.used(START) == 0
    assert take(window, 10, START, 10)
    assert repr(window) == "<SlidingWindow of 60 s [10 after 0]>"
