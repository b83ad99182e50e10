"""The replica with the fewest tokens in flight gets a request, however many requests those are."""

from __future__ import annotations

from gateway.pools.policies.least_tokens import LeastTokens
from gateway.pools.policies.prompt_blocks import Prompt
from tests.gateway.pools.made import Request, pool, replica


def request(tokens: int) -> Request:
    return Request(prompt=Prompt(tokens, (), 0.0), max_tokens=1)


def test_a_long_prompt_weighs_as_much_as_many_short_ones() -> None:
    made = pool("m", replica("a"), replica("b"), policy=LeastTokens())
    long = request(10_000)
    where = made.pick(long)
    for _ in range(50):
        assert made.pick(request(100)) is not where
    assert made.released is not None
    made.released(where, long)
    assert made.pick(request(100)) is where


def test_an_idle_pool_is_used_evenly() -> None:
    made = pool("m", *(replica(name) for name in "abc"), policy=LeastTokens())
    picked = []
    for _ in range(6):
        asked = request(10)
        picked.append(made.pick(asked))
        assert made.released is not None
        made.released(picked[-1], asked)
    assert {picked.count(each) for each in made.replicas} == {2}


def test_what_a_replica_got_as_the_only_one_counts_too() -> None:
    first, second = replica("a"), replica("b")
    made = pool("m", first, policy=LeastTokens())
    made.pick(request(1000))
    made.add(second)
    assert [made.pick(request(100)) for _ in range(3)] == [second, second, second]
