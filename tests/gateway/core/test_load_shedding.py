"""How much is refused while the loop is late, and of which classes."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.core.load_shedding import LoadShedding

LATE, CALM = 0.5, 0.0


def ticks(shedding: LoadShedding, number: int, lag: float, offered: Mapping[int, int] | None = None) -> dict[int, int]:
    """Let the loop tick, with so many requests of each class between two ticks; return how many were refused."""
    refused = dict.fromkeys(offered or {}, 0)
    for _ in range(number):
        shedding.tick(lag)
        for priority, count in (offered or {}).items():
            # Where nothing is to be refused, nobody asks.
            refused[priority] += sum(shedding.refuses(priority) for _ in range(count)) if shedding.share else 0
    return refused


def test_nothing_is_refused_while_the_loop_is_in_time() -> None:
    shedding = LoadShedding(0.25)
    assert ticks(shedding, 100, 0.25, {0: 10}) == {0: 0}


def test_one_long_pause_or_two_refuse_nothing() -> None:
    shedding = LoadShedding(0.25)
    for lag in (0.0, 0.0, 0.0, 9.0, 0.0, 9.0, 0.0, 0.0, 0.0, 9.0, 0.0):
        assert ticks(shedding, 1, lag, {0: 10}) == {0: 0}
        assert shedding.share == 0.0


def test_the_lowest_class_is_refused_first_and_then_the_next() -> None:
    shedding = LoadShedding(0.25)
    offered = {-5: 10, 0: 10, 5: 10}
    refused = ticks(shedding, 9, LATE, offered)
    assert refused[5] > 0
    assert (refused[0], refused[-5]) == (0, 0)
    refused = ticks(shedding, 6, LATE, offered)
    assert refused[5] > 50
    assert refused[0] > 0
    assert refused[-5] == 0
    ticks(shedding, 5, LATE, offered)
    refused = ticks(shedding, 20, LATE, offered)
    assert (refused[5], refused[0]) == (200, 200)
    assert refused[-5] > 0


def test_a_single_class_is_refused_in_part_and_evenly() -> None:
    shedding = LoadShedding(0.25)
    ticks(shedding, 9, LATE, {0: 100})
    assert repr(shedding) == "<LoadShedding [25%; median lag 500 ms]>"
    answers = [shedding.refuses(0) for _ in range(100)]
    assert {sum(answers[at : at + 4]) for at in range(0, 100, 4)} == {1}


def test_a_tenth_is_let_through_however_long_it_lasts() -> None:
    shedding = LoadShedding(0.25)
    ticks(shedding, 100, LATE, {0: 100})
    assert ticks(shedding, 10, LATE, {0: 100})[0] == 900


def test_it_recovers_below_half_the_limit_and_stays_as_it_is_in_between() -> None:
    shedding = LoadShedding(0.25)
    ticks(shedding, 10, LATE, {0: 100})
    ticks(shedding, 3, 0.2, {0: 100})
    share = shedding.share
    ticks(shedding, 20, 0.2, {0: 100})
    assert shedding.share == share
    ticks(shedding, 10, CALM, {0: 100})
    assert 0 < shedding.share < share
    ticks(shedding, 40, CALM, {0: 100})
    assert shedding.share == 0.0
    assert ticks(shedding, 10, CALM, {0: 100}) == {0: 0}


def test_it_can_be_switched_off_and_lets_go_when_it_is() -> None:
    assert ticks(LoadShedding(0.0), 100, LATE, {0: 10}) == {0: 0}
    shedding = LoadShedding(0.25)
    ticks(shedding, 10, LATE, {0: 100})
    shedding.max_lag = 0.0
    ticks(shedding, 100, LATE, {0: 100})
    assert shedding.share == 0.0


def test_a_refusal_says_when_nothing_will_be_refused_any_more() -> None:
    shedding = LoadShedding(0.25)
    ticks(shedding, 6, LATE, {0: 100})
    error = shedding.refusal()
    assert (error.status, error.code, error.retry_after) == (503, "gateway_overloaded", 1.0)
    ticks(shedding, 100, LATE, {0: 100})
    assert shedding.refusal().retry_after == 9.0
