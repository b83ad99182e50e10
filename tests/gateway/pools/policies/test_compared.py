"""A few of many replicas are compared, all of them in turn."""

from __future__ import annotations

from gateway.pools.policies.compared import compared
from gateway.pools.replica import Replica
from tests.gateway.pools.made import replica


def test_of_a_small_pool_all_are_compared_each_first_in_turn() -> None:
    pool = [replica(f"m-{number}") for number in range(3)]
    assert [[each.name for each in compared(pool, turn)] for turn in range(3)] == [
        ["m-0", "m-1", "m-2"],
        ["m-1", "m-2", "m-0"],
        ["m-2", "m-0", "m-1"],
    ]


def test_of_a_large_pool_sixteen_are_compared_and_none_is_left_out_for_ever() -> None:
    pool = [replica(f"m-{number}") for number in range(100)]
    seen: set[Replica] = set()
    for turn in range(100):
        some = compared(pool, turn)
        assert len(set(some)) == 16
        seen.update(some)
    assert seen == set(pool)
