"""The less loaded of two is picked, and the two are never the same."""

from __future__ import annotations

import random
from collections import Counter

from gateway.pools.policies.power_of_two import PowerOfTwo
from tests.gateway.pools.made import Request, replica

ANY = Request()


def test_of_two_the_less_loaded_is_picked() -> None:
    policy, replicas = PowerOfTwo(), [replica("busy", in_flight=3), replica("idle", in_flight=2)]
    assert {policy.pick(replicas, ANY).name for _ in range(50)} == {"idle"}


def test_the_most_loaded_of_many_is_never_picked_and_all_others_are() -> None:
    random.seed(5)
    policy, replicas = PowerOfTwo(), [replica(str(number), in_flight=number) for number in range(5)]
    picked = Counter(policy.pick(replicas, ANY).name for _ in range(1000))
    assert set(picked) == {"0", "1", "2", "3"}
    assert picked["0"] > picked["1"] > picked["2"] > picked["3"]


def test_a_burst_is_nearly_balanced() -> None:
    random.seed(5)
    policy, replicas = PowerOfTwo(), [replica(str(number)) for number in range(10)]
    for _ in range(1000):
        policy.pick(replicas, ANY).load.entered()
    counts = [replica.in_flight for replica in replicas]
    assert max(counts) - min(counts) <= 6
