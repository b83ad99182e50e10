"""Each policy picks as its name says."""

from __future__ import annotations

from collections import Counter

import pytest

from gateway.config.types import ALL_POLICIES, PolicyName
from gateway.http.address import Address
from gateway.http.connection_pool import ConnectionPool
from gateway.pools.policies import POLICIES, LeastInFlight, RoundRobin
from gateway.pools.replica import Replica


def replicas(*in_flight: int) -> list[Replica]:
    made = []
    for number, count in enumerate(in_flight):
        replica = Replica(
            str(number), ConnectionPool(Address.parse("unix:/tmp/x.sock"), connect_timeout=1.0), ready=True
        )
        replica.in_flight = count
        made.append(replica)
    return made


def test_round_robin_takes_each_in_turn() -> None:
    policy, ready = RoundRobin(), replicas(0, 9, 0)
    assert [policy.pick(ready).name for _ in range(6)] == ["1", "2", "0", "1", "2", "0"]


def test_round_robin_survives_a_change_of_the_ready_ones() -> None:
    policy, ready = RoundRobin(), replicas(0, 0, 0)
    for count in (3, 1, 2, 3, 1):
        assert policy.pick(ready[:count]) in ready[:count]


@pytest.mark.parametrize("turns", range(4))
def test_least_in_flight_takes_the_least_loaded_wherever_it_stands(turns: int) -> None:
    policy, ready = LeastInFlight(), replicas(3, 1, 2)
    for _ in range(turns):
        policy.pick(ready)
    assert policy.pick(ready).name == "1"


def test_least_in_flight_spreads_over_equals() -> None:
    policy, ready = LeastInFlight(), replicas(0, 0, 0)
    assert Counter(policy.pick(ready).name for _ in range(30)) == {"0": 10, "1": 10, "2": 10}


def test_least_in_flight_balances_a_burst() -> None:
    policy, ready = LeastInFlight(), replicas(4, 0, 1)
    for _ in range(10):
        policy.pick(ready).in_flight += 1
    assert [replica.in_flight for replica in ready] == [5, 5, 5]


@pytest.mark.parametrize("size", [16, 17, 100, 1000])
def test_least_in_flight_balances_a_large_pool_half_of_which_is_new(size: int) -> None:
    policy, ready = LeastInFlight(), replicas(*[8] * (size // 2), *[0] * (size - size // 2))
    for _ in range(4 * size):
        policy.pick(ready).in_flight += 1
    counts = [replica.in_flight for replica in ready]
    assert max(counts) - min(counts) <= 2


@pytest.mark.parametrize("name", ALL_POLICIES)
def test_every_policy_picks_the_only_one(name: PolicyName) -> None:
    (only,) = replicas(7)
    assert POLICIES[name]().pick([only]) is only
