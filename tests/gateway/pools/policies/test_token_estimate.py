"""What a request holds is its prompt, and a response as long as others were or as its limit allows."""

from __future__ import annotations

from gateway.pools.policies.token_estimate import TokenEstimate


def test_a_response_is_as_long_as_its_limit_allows_and_others_were() -> None:
    estimate = TokenEstimate()
    assert estimate.of(100, limit=5) == 105
    before = estimate.of(100, limit=0)
    assert estimate.of(100, limit=100_000) == before
    for _ in range(300):
        estimate.learn(40)
    assert 139 <= estimate.of(100, limit=0) <= 142


def test_a_response_that_was_not_counted_teaches_nothing() -> None:
    estimate = TokenEstimate()
    before = estimate.of(100, limit=0)
    estimate.learn(0)
    assert estimate.of(100, limit=0) == before


def test_the_mean_of_requests_follows_those_that_are_sent() -> None:
    estimate = TokenEstimate()
    for _ in range(300):
        estimate.of(1000, limit=10)
    assert 1009 <= estimate.mean_request <= 1010.01
    assert repr(estimate) == "<TokenEstimate [256 tokens a response, 1010 with its prompt]>"
