"""Those who wait are served in the order in which they came."""

from __future__ import annotations

from gateway.pools.queue import FifoQueue
from tests.kit.waiters import Waiter


def test_first_come_first_served() -> None:
    queue, waiters = FifoQueue(), [Waiter() for _ in range(3)]
    for number, waiter in enumerate(waiters):
        queue.push(waiter, 1.5 + number)
    assert (queue.length, queue.head_rank()) == (3, 1_500_000_000)
    assert [queue.pop() for _ in range(3)] == waiters
    assert (queue.length, queue.head_rank()) == (0, 0)


def test_one_that_leaves_is_passed_over_and_leaves_once() -> None:
    queue, waiters = FifoQueue(), [Waiter() for _ in range(3)]
    for number, waiter in enumerate(waiters):
        queue.push(waiter, float(number))
    assert queue.discard(waiters[0])
    assert not queue.discard(waiters[0])
    assert repr(queue) == "<FifoQueue [2 waiting]>"
    assert queue.head_rank() == 1_000_000_000
    assert queue.pop() is waiters[1]
