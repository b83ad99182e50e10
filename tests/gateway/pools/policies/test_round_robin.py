"""Each replica is picked in turn."""

from __future__ import annotations

from gateway.pools.policies.round_robin import RoundRobin, WeightedRoundRobin
from tests.gateway.pools.made import Request, pool, replica

ANY = Request()
REPLICAS = [replica("0"), replica("1", in_flight=9), replica("2")]


def test_each_is_taken_in_turn_whatever_it_is_doing() -> None:
    policy = RoundRobin()
    assert [policy.pick(REPLICAS, ANY).name for _ in range(6)] == ["1", "2", "0", "1", "2", "0"]


def test_the_ready_ones_may_change_between_two_requests() -> None:
    policy = RoundRobin()
    for count in (3, 1, 2, 3, 1):
        assert policy.pick(REPLICAS[:count], ANY) in REPLICAS[:count]


def test_turns_by_weight_are_spread_evenly() -> None:
    replicas = [replica("a"), replica("b"), replica("c")]
    replicas[0].set_weight(5)
    made = pool("m", *replicas, policy=WeightedRoundRobin())
    assert "".join(made.pick(Request()).name for _ in range(14)) == "aabacaa" * 2
