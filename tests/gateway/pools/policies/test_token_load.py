"""Tokens in flight: prompts, and what responses are expected to have."""

from __future__ import annotations

from gateway.pools.policies.prompt_blocks import Prompt
from gateway.pools.policies.token_load import TokenLoad
from tests.gateway.pools.made import Request, replica


def request(tokens: int, limit: int = 0) -> Request:
    return Request(prompt=Prompt(tokens, (), 0.0), max_tokens=limit)


def test_a_request_holds_its_prompt_and_its_response_until_it_is_released() -> None:
    load, here = TokenLoad(), replica("a")
    one, other = request(1000, limit=10), request(50, limit=100)
    load.assigned(here, one)
    load.assigned(here, other)
    assert load.held(here) == 1160
    load.released(here, one)
    assert load.held(here) == 150
    load.released(here, other)
    assert load.held(here) == 0
    assert repr(load) == "<TokenLoad [0 tokens of 0 requests at 0 replicas]>"


def test_a_large_limit_counts_as_what_responses_have_had() -> None:
    load, here = TokenLoad(), replica("a")
    for _ in range(300):
        ended = request(0, limit=10_000)
        load.assigned(here, ended)
        ended.context.output_tokens = 40
        load.released(here, ended)
    load.assigned(here, request(100, limit=10_000))
    assert 139 <= load.held(here) <= 142
    load.assigned(here, request(100, limit=5))
    assert 244 <= load.held(here) <= 247


def test_a_response_that_was_not_counted_teaches_nothing() -> None:
    load, here = TokenLoad(), replica("a")
    load.assigned(here, request(0))
    expected = load.held(here)
    for _ in range(50):
        ended = request(0)
        load.assigned(here, ended)
        load.released(here, ended)
    assert load.held(here) == expected


def test_one_request_may_be_at_two_replicas() -> None:
    load, one, other = TokenLoad(), replica("a"), replica("b")
    asked = request(100, limit=1)
    load.assigned(one, asked)
    load.assigned(other, asked)
    load.released(one, asked)
    assert (load.held(one), load.held(other)) == (0, 101)
