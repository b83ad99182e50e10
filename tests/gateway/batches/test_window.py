"""The window grows while nothing is harmed, is halved where something is, and holds the delay to its target."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from gateway.batches.window import BUSY_TARGET, IDLE_TARGET, Round, Window, next_window

MOST = 64


def seen(delay: float | None = 0.0, *, busy: bool = False, filled: bool = True, waits: bool = False) -> Round:
    return Round(waits, False, delay, busy, filled)


def test_it_is_doubled_until_the_first_sign_of_load_and_grows_by_one_a_round_then() -> None:
    window = Window()
    sizes = []
    for delay in (0.0, 0.0, 0.0, IDLE_TARGET * 0.6, 0.0, 0.0):
        window = next_window(window, seen(delay), MOST)
        sizes.append(window.size)
    assert sizes == pytest.approx([2, 4, 8, 8.4, 9.4, 10.4])


@pytest.mark.parametrize("bad", [seen(waits=True), Round(False, True, None, False, True)])
def test_it_is_halved_where_somebody_waits_or_something_is_full_and_is_no_longer_doubled(bad: Round) -> None:
    window = next_window(Window(16.0), bad, MOST)
    assert window == Window(8.0, 8.0)
    assert next_window(window, seen(), MOST).size == 9.0


def test_it_is_one_at_least_and_the_bound_at_most() -> None:
    assert next_window(Window(1.0), seen(waits=True), MOST).size == 1.0
    assert next_window(Window(60.0), seen(), MOST).size == MOST
    assert next_window(Window(float(MOST), 2.0), seen(), MOST).size == MOST


def test_it_does_not_grow_where_it_was_not_filled() -> None:
    assert next_window(Window(4.0), seen(filled=False), MOST) == Window(4.0)


@pytest.mark.parametrize(("busy", "target"), [(False, IDLE_TARGET), (True, BUSY_TARGET)])
def test_it_stays_where_the_delay_is_as_long_as_it_may_be(busy: bool, target: float) -> None:
    assert next_window(Window(16.0, 8.0), seen(target, busy=busy), MOST).size == 16.0
    assert next_window(Window(16.0, 8.0), seen(target * 1.5, busy=busy), MOST).size == 12.0
    assert next_window(Window(16.0, 8.0), seen(target * 9, busy=busy), MOST).size == 8.0


@dataclass
class Engine:
    """An engine whose tokens take longer with each request beyond those that it takes at no price."""

    free: int

    def delay(self, running: float) -> float:
        return max(0.0, running - self.free) * 0.02


@pytest.mark.parametrize("free", [1, 10, 40])
def test_it_finds_what_an_engine_takes_beside_interactive_requests(free: int) -> None:
    engine, window = Engine(free), Window()
    delays = []
    for _ in range(200):
        delay = engine.delay(window.size)
        delays.append(delay)
        window = next_window(window, seen(delay, busy=True), MOST)
    assert window.size >= min(free, MOST)
    assert max(delays[100:]) <= BUSY_TARGET * 1.3
