"""The least loaded replica is picked, and equals share the load."""

from __future__ import annotations

from collections import Counter

import pytest

from gateway.pools.policies.least_in_flight import LeastInFlight
from gateway.pools.replica import Replica
from tests.gateway.pools.made import Request, replica

ANY = Request()


def replicas(*in_flight: int) -> list[Replica]:
    return [replica(str(number), in_flight=count) for number, count in enumerate(in_flight)]


@pytest.mark.parametrize("turns", range(4))
def test_the_least_loaded_is_taken_wherever_it_stands(turns: int) -> None:
    policy, ready = LeastInFlight(), replicas(3, 1, 2)
    for _ in range(turns):
        policy.pick(ready, ANY)
    assert policy.pick(ready, ANY).name == "1"


def test_equals_are_taken_in_turn() -> None:
    policy, ready = LeastInFlight(), replicas(0, 0, 0)
    assert Counter(policy.pick(ready, ANY).name for _ in range(30)) == {"0": 10, "1": 10, "2": 10}


def test_a_burst_is_balanced() -> None:
    policy, ready = LeastInFlight(), replicas(4, 0, 1)
    for _ in range(10):
        policy.pick(ready, ANY).load.entered()
    assert [replica.in_flight for replica in ready] == [5, 5, 5]


@pytest.mark.parametrize("size", [16, 17, 100, 1000])
def test_a_large_pool_half_of_which_is_new_is_balanced(size: int) -> None:
    policy, ready = LeastInFlight(), replicas(*[8] * (size // 2), *[0] * (size - size // 2))
    for _ in range(4 * size):
        policy.pick(ready, ANY).load.entered()
    counts = [replica.in_flight for replica in ready]
    assert max(counts) - min(counts) <= 2
