"""The order in which requests that wait for a slot get one."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol


class Waiter(Protocol):
    """A request that wants a slot, and waits in a queue where none is free."""

    def granted(self) -> None:
        """Go on: a slot is taken for it."""


class Queue(Protocol):
    """A queuing discipline. It orders by rank, the lowest first, within a process and over all processes.

    A rank is a number of nanoseconds: first come, first served ranks by the time of arrival. Another discipline moves
    requests ahead or behind by adding to it.
    """

    length: int
    """How many requests wait."""

    def push(self, waiter: Waiter, now: float) -> None:
        """Let a request wait from ``now`` on, a ``perf_counter`` reading."""

    def pop(self) -> Waiter:
        """Take out the request with the lowest rank."""

    def discard(self, waiter: Waiter) -> bool:
        """Take out a request that waits no longer; return whether it was there."""

    def head_rank(self) -> int:
        """Give the rank of the request that is next; 0 for an empty queue."""


class FifoQueue:
    """First come, first served."""

    __slots__ = ("_ranks", "length")

    def __init__(self) -> None:
        self._ranks: OrderedDict[Waiter, int] = OrderedDict()
        self.length = 0

    def __repr__(self) -> str:
        return f"<FifoQueue [{self.length} waiting]>"

    def push(self, waiter: Waiter, now: float) -> None:
        """Put a request behind all others."""
        self._ranks[waiter] = int(now * 1e9)
        self.length += 1

    def pop(self) -> Waiter:
        """Take out the request that has waited longest."""
        self.length -= 1
        return self._ranks.popitem(last=False)[0]

    def discard(self, waiter: Waiter) -> bool:
        """Take out a request that waits no longer; return whether it was there."""
        if self._ranks.pop(waiter, None) is None:
            return False
        self.length -= 1
        return True

    def head_rank(self) -> int:
        """Give the time of arrival of the request that has waited longest, in nanoseconds; 0 for an empty queue."""
        return next(iter(self._ranks.values()), 0)
