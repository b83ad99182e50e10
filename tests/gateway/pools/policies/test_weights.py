"""Replicas of different weights get different shares, by each policy."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from gateway.config.models import RemoteModel
from gateway.config.types import ALL_POLICIES, PolicyName
from gateway.pools.policies.table import POLICIES
from gateway.pools.policies.weights import are_weighted, compared_by_weight, drawn
from gateway.pools.pool import Pool
from gateway.pools.replica import Replica
from tests.gateway.pools.made import Request, pool, replica


def weighted(name: str, weight: float) -> Replica:
    made = replica(name)
    made.set_weight(weight)
    return made


def by_policy(name: PolicyName, **weights: float) -> Pool:
    urls = [f"http://{each}" for each in weights]
    options: dict[str, Any] = {"engine": "remote", "urls": urls, "policy": name}
    options["weights"] = dict(zip(urls, weights.values(), strict=True))
    settings = RemoteModel.model_validate(options)
    return pool("m", *(weighted(*each) for each in weights.items()), policy=POLICIES[name](settings))


def shares(made: Pool, requests: int, *, busy: bool) -> Counter[str]:
    """Count which replicas are picked for requests that come one after the other, or that all stay."""
    counts: Counter[str] = Counter()
    for number in range(requests):
        request = Request(session=b"%d" % number)
        picked = made.pick(request)
        counts[picked.name] += 1
        if busy:
            picked.load.entered()
        elif made.released is not None:
            made.released(picked, request)
    return counts


@pytest.mark.parametrize("policy", ALL_POLICIES)
@pytest.mark.parametrize("busy", [True, False], ids=["busy", "idle"])
def test_each_gets_about_its_share(policy: PolicyName, busy: bool) -> None:
    counts = shares(by_policy(policy, a=1, b=3), 2000, busy=busy)
    assert 0.65 <= counts["b"] / 2000 <= 0.85, counts


@pytest.mark.parametrize("policy", ALL_POLICIES)
def test_one_of_weight_0_gets_nothing(policy: PolicyName) -> None:
    assert set(shares(by_policy(policy, a=0, b=1, c=2), 100, busy=True)) == {"b", "c"}


def test_a_draw_is_by_weight() -> None:
    counts = Counter(drawn([weighted("a", 1), weighted("b", 9)]).name for _ in range(2000))
    assert 1700 <= counts["b"] <= 1900


def test_all_are_compared_and_the_first_is_drawn() -> None:
    candidates = [weighted("a", 1), weighted("b", 1000)]
    assert {each.name for each in compared_by_weight(candidates, 0)} == {"a", "b"}
    assert Counter(compared_by_weight(candidates, 0)[0].name for _ in range(50))["b"] > 40


def test_equal_weights_are_none() -> None:
    assert not are_weighted([weighted("a", 2), weighted("b", 2), weighted("c", 0)])
    assert are_weighted([weighted("a", 2), weighted("b", 1)])
