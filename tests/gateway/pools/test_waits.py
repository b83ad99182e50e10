"""How long requests may wait before a pool."""

from __future__ import annotations

import pytest

from gateway.pools.timeouts import NO_TIMEOUTS
from gateway.pools.waits import Waits


def test_the_time_that_a_request_is_held_counts_by_itself_and_so_does_that_in_the_queue() -> None:
    waits = Waits()
    assert waits.until(90.0, 60.0, held=False) == 150.0
    waits.set_waits(7.0, 4.0)
    assert waits.until(90.0, 60.0, held=False) == 94.0
    waits.gate_moved_at = 100.0
    assert waits.until(90.0, 60.0, held=True) == 107.0
    assert waits.until(103.0, 60.0, held=True) == 110.0
    assert waits.until(90.0, 60.0, held=False) == 104.0


@pytest.mark.parametrize(
    ("hold", "queue", "first_byte", "short"),
    [(0.0, None, 60.0, False), (4.9, None, 60.0, True), (30.0, 4.9, 60.0, True), (30.0, None, 4.9, True)],
)
def test_a_short_time_has_to_be_kept_closely(hold: float, queue: float | None, first_byte: float, short: bool) -> None:
    waits = Waits()
    waits.set_waits(hold, queue)
    waits.set_timeouts(NO_TIMEOUTS._replace(first_byte=first_byte))
    assert waits.short is short


def test_its_repr_tells_the_truth() -> None:
    waits = Waits()
    waits.set_waits(2.5, 4.0)
    assert repr(waits).startswith("<Waits [hold 2.5 s; queue 4.0 s; Timeouts(connect=inf,")
