"""A prompt goes where its prefix is, unless it would wait there for more than that is worth."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from gateway.pools.policies.prefix import Prefix
from gateway.pools.policies.prompt_blocks import read_prompt
from gateway.pools.pool import Pool
from gateway.pools.replica import Replica, ReplicaState
from tests.gateway.pools.made import Request, pool, replica


def request(*parts: str, words: int = 400) -> Request:
    """Make a request whose prompt has for each part a text of so many tokens."""
    text = "".join(f"{part:>3} " * words for part in parts)
    return Request(prompt=read_prompt(json.dumps({"prompt": text}).encode()), max_tokens=1)


def pool_of(size: int, cache_tokens: int = 100_000) -> Pool:
    return pool("m", *(replica(f"m-{number}") for number in range(size)), policy=Prefix(cache_tokens))


def served(made: Pool, asked: Request) -> Replica:
    """Send a request, and let it end."""
    where = made.pick(asked)
    assert made.released is not None
    made.released(where, asked)
    return where


def test_a_conversation_stays_where_it_began() -> None:
    made = pool_of(4)
    for conversation in "abcdefgh":
        began = served(made, request(conversation))
        for turns in range(2, 6):
            assert served(made, request(conversation, *map(str, range(1, turns)))) is began


def test_new_prompts_spread_over_an_idle_pool() -> None:
    made = pool_of(4)
    assert set(Counter(served(made, request(str(number))) for number in range(40)).values()) == {10}


def test_a_new_prompt_goes_where_the_least_is_waiting_to_be_read() -> None:
    made = pool_of(2)
    busy = made.pick(request("long", words=5000))
    for number in range(5):
        assert made.pick(request(str(number))) is not busy


def test_what_has_been_read_does_not_wait_any_more() -> None:
    made = pool_of(2)
    first = request("long", words=5000)
    busy = made.pick(first)
    for number in range(9):
        assert made.pick(request(str(number))) is not busy
    first.context.first_token_at = 1.0
    assert made.pick(request("new")) is busy


def test_a_prefix_that_many_ask_for_at_once_spreads_before_it_queues() -> None:
    made = pool_of(8)
    served(made, request("hot", words=4000))
    places = Counter(made.pick(request("hot", str(number), words=4000)) for number in range(200))
    assert len(places) == 8
    assert max(places.values()) <= 1.5 * 200 / 8


def test_a_conversation_leaves_a_replica_that_has_far_more_to_do_than_it_saves() -> None:
    made = pool_of(2, cache_tokens=10_000_000)
    began = served(made, request("a"))
    other = next(each for each in made.replicas if each is not began)
    other.set_state(ReplicaState.FAILING)
    for number in range(100):
        made.pick(request(f"{number}"))
    other.set_state(ReplicaState.READY)
    assert made.pick(request("a", "b")) is other


def test_a_replica_that_was_not_ready_is_taken_for_empty() -> None:
    made = pool_of(2)
    began = served(made, request("a", "b"))
    began.set_state(ReplicaState.RESTARTING)
    moved = served(made, request("a", "b", "c"))
    assert moved is not began
    began.set_state(ReplicaState.READY)
    assert served(made, request("a", "b", "c", "d")) is moved


def test_a_cold_replica_warms_without_being_flooded() -> None:
    made = pool_of(16)
    for number in range(160):
        made.pick(request(str(number)))
    cold = made.replicas[5]
    cold.set_state(ReplicaState.RESTARTING)
    cold.set_state(ReplicaState.READY)
    # Conversations go on where they are, and new ones begin.
    places = Counter(made.pick(request(str(number), "more")) for number in range(160))
    places.update(made.pick(request(f"n{number}")) for number in range(160))
    assert 0 < places[cold] <= 1.5 * 320 / 16
    assert max(places.values()) <= 1.5 * 320 / 16


@pytest.mark.parametrize(("cache_tokens", "knows"), [(100_000, True), (1000, False)])
def test_what_the_cache_must_have_given_away_is_not_counted_upon(cache_tokens: int, *, knows: bool) -> None:
    made = pool_of(2, cache_tokens)
    began = served(made, request("a"))
    for number in range(12):
        served(made, request(str(number)))
    # The one where it began has more to do now, which only a prefix that is still there is worth.
    made.pick(request("busy"), tuple(each for each in made.replicas if each is not began))
    assert (served(made, request("a", "b")) is began) is knows


def test_in_a_large_pool_the_one_that_knows_the_prefix_is_found() -> None:
    made = pool_of(200)
    places = {name: served(made, request(name)) for name in "abcdefgh"}
    assert len(set(places.values())) > 1
    for name, where in places.items():
        assert served(made, request(name, "more")) is where


def test_a_replica_that_has_been_tried_or_is_gone_is_not_asked_again() -> None:
    made = pool_of(40)
    began = served(made, request("a"))
    assert made.pick(request("a", "b"), (began,)) is not began
    made.remove(began)
    assert made.pick(request("a", "c")) is not began


def test_requests_that_end_after_their_replica_has_gone_leave_nothing_behind() -> None:
    made = pool_of(3)
    asked = request("a")
    where = made.pick(asked)
    made.remove(where)
    assert made.released is not None
    made.released(where, asked)
    assert served(made, request("a", "b")) in made.replicas


def test_the_same_requests_go_the_same_way_each_time() -> None:
    def ways() -> list[str]:
        made = pool_of(5)
        return [served(made, request(*"ab"[: number % 3], str(number % 7))).name for number in range(60)]

    assert ways() == ways()
