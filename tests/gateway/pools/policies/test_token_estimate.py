"""What a request holds is its prompt, and a response as long as others were or as its limit allows."""

from __future__ import annotations

from gateway.pools.policies.prompt_blocks import Prompt
from gateway.pools.policies.token_estimate import TokenEstimate
from tests.gateway.pools.made import Request


def request(tokens: int, limit: int = 0, output: int = 0) -> Request:
    made = Request(prompt=Prompt(tokens, (), 0.0), max_tokens=limit)
    made.context.output_tokens = output
    return made


def test_a_response_is_as_long_as_its_limit_allows_and_others_were() -> None:
    estimate = TokenEstimate()
    assert estimate.of(request(100, limit=5)) == 105
    before = estimate.of(request(100))
    assert estimate.of(request(100, limit=100_000)) == before
    for _ in range(300):
        estimate.learn(request(0, output=40))
    assert 139 <= estimate.of(request(100)) <= 142


def test_a_response_that_was_not_counted_teaches_nothing() -> None:
    estimate = TokenEstimate()
    before = estimate.of(request(100))
    estimate.learn(request(100))
    assert estimate.of(request(100)) == before


def test_the_mean_of_requests_follows_those_that_are_sent() -> None:
    estimate = TokenEstimate()
    for _ in range(300):
        estimate.of(request(1000, limit=10))
    assert 1009 <= estimate.mean_request <= 1010.01
    assert repr(estimate) == "<TokenEstimate [256 tokens a response, 1010 with its prompt]>"
