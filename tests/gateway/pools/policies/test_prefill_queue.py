"""What a replica has yet to read, and how many requests share a prefix there."""

from __future__ import annotations

from gateway.pools.policies.prefill_queue import UNREAD, PrefillQueue
from tests.gateway.pools.made import Request


def unread(queue: PrefillQueue, held: int) -> float:
    """Give how many tokens are to be read at a replica whose requests hold so many."""
    queue.look()
    return (queue.load - held) / UNREAD


def test_a_prompt_is_unread_until_the_first_token_of_its_stream() -> None:
    queue, one, other = PrefillQueue(), Request(), Request()
    queue.add(one, 1000, 1000, None)
    queue.add(other, 50, 50, None)
    assert unread(queue, held=1050) == 1050
    one.context.first_token_at = 1.0
    assert unread(queue, held=1050) == 50
    queue.remove(other)
    queue.remove(one)
    assert queue.load == 0
    assert repr(queue) == "<PrefillQueue [0 requests; 0 of 0 tokens unread]>"
    assert not queue


def test_requests_that_share_a_prefix_are_counted_until_they_end() -> None:
    queue, requests = PrefillQueue(), [Request() for _ in range(3)]
    for each in requests:
        queue.add(each, 10, 10, 7)
    queue.add(Request(), 10, 10, 8)
    for each in requests:
        each.context.first_token_at = 1.0
    assert queue.sharing == {7: 3, 8: 1}
    for each in requests:
        queue.remove(each)
    assert queue.sharing == {8: 1}


def test_the_prompt_of_a_request_that_does_not_stream_is_unread_until_its_end() -> None:
    queue, whole, stream = PrefillQueue(), Request(streams=False), Request()
    queue.add(whole, 1000, 1000, None)
    queue.add(stream, 50, 50, None)
    whole.context.first_token_at = stream.context.first_token_at = 1.0
    assert unread(queue, held=1050) == 1000
    queue.remove(whole)
    assert unread(queue, held=50) == 0


def test_prompts_are_read_in_the_order_in_which_they_came() -> None:
    queue, requests = PrefillQueue(), [Request() for _ in range(3)]
    for each in requests:
        queue.add(each, 100, 100, None)
    requests[1].context.first_token_at = 1.0
    assert unread(queue, held=300) == 300
    queue.remove(requests[0])
    assert unread(queue, held=200) == 100


def test_what_a_request_holds_counts_until_its_end_whatever_of_it_is_cached() -> None:
    queue, one, other = PrefillQueue(), Request(), Request(streams=False)
    queue.add(one, 1200, 0, 7)
    queue.add(other, 300, 50, 7)
    assert repr(queue) == "<PrefillQueue [2 requests; 50 of 1500 tokens unread]>"
    one.context.first_token_at = 1.0
    assert unread(queue, held=1500) == 50
    assert repr(queue) == "<PrefillQueue [2 requests; 50 of 1500 tokens unread]>"
    queue.remove(one)
    queue.remove(other)
    assert queue.load == 0


def test_a_replica_is_exactly_idle_again_however_its_requests_came_and_went() -> None:
    queue, requests = PrefillQueue(), [Request(streams=False) for _ in range(3)]
    for number, request in enumerate(requests, start=1):
        queue.add(request, held=0, unread=number / 3, prefix=None)
    for request in requests:
        queue.remove(request)
    assert queue.load == 0
