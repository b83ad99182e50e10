"""How many replicas of a pool may be ejected, and for how long."""

from __future__ import annotations

import pytest

from gateway.pools.ejection import Ejection, LocalTrial, ejection_seconds, may_eject


@pytest.mark.parametrize(
    ("ejected", "others_ready", "replicas", "allowed"),
    [
        (0, 0, 1, False),
        (0, 0, 8, False),
        (0, 1, 2, True),
        (1, 1, 3, False),
        (1, 2, 4, True),
        (2, 1, 4, False),
        (3, 4, 8, True),
        (4, 3, 8, False),
    ],
)
def test_never_the_last_and_at_most_half_but_for_one(
    ejected: int, others_ready: int, replicas: int, allowed: bool
) -> None:
    assert may_eject(ejected=ejected, others_ready=others_ready, replicas=replicas) is allowed


@pytest.mark.parametrize(("number", "base", "seconds"), [(1, 5.0, 5.0), (4, 0.1, 0.8), (99, 5.0, 300.0), (2, 900, 900)])
def test_each_ejection_in_a_row_is_twice_as_long_up_to_a_limit(number: int, base: float, seconds: float) -> None:
    assert ejection_seconds(number, base) == seconds


@pytest.mark.parametrize(("ended_at", "number"), [(None, 4), (996.0, 4), (994.0, 3), (989.0, 2), (900.0, 1)])
def test_each_time_that_it_was_ready_forgives_one(ended_at: float | None, number: int) -> None:
    assert Ejection(3, 600.0, "slow", ended_at).next_number(1000.0, 5.0) == number


def test_a_right_is_nobodys_or_somebodys() -> None:
    trial = LocalTrial()
    assert trial.claim()
    assert not trial.claim()
    trial.release()
    assert trial.claim()
