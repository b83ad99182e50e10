"""Room now, or a place in the queue: how many requests of one model may be under way.

A slot is held from admission to the end of the response. Requests beyond the limit wait first come, first served;
beyond the queue's limit they are refused, with the time after which a slot is likely, estimated from how fast slots
became free.
"""

from __future__ import annotations

from collections import OrderedDict
from time import perf_counter
from typing import Protocol

from gateway.core.errors import QueueTimeout, Unavailable

SMOOTHING = 0.1
"""The weight of the newest gap between two freed slots in the running mean of such gaps."""


class Waiter(Protocol):
    """Whoever wants a slot, and waits in the queue where none is free."""

    def granted(self) -> None:
        """Go on: a slot is taken for it."""


class Admission:
    """The slots and the queue of one pool. ``limit`` is the number of slots, ``None`` for as many as are asked for."""

    __slots__ = ("_gap_began", "_mean_gap", "_waiting", "limit", "max_queue", "running")

    def __init__(self, limit: int | None, max_queue: int) -> None:
        self.limit = limit
        self.max_queue = max_queue
        self.running = 0
        self._waiting: OrderedDict[Waiter, float] = OrderedDict()
        self._gap_began = 0.0
        self._mean_gap = 0.0

    def __repr__(self) -> str:
        limit = "no limit" if self.limit is None else f"limit {self.limit}"
        return f"<Admission [{self.running} running, {self.waiting} waiting; {limit}]>"

    @property
    def waiting(self) -> int:
        """How many requests are in the queue."""
        return len(self._waiting)

    def oldest_wait(self, now: float) -> float:
        """How long the head of the queue has waited, in seconds; 0 for an empty queue."""
        for since in list(self._waiting.values())[:1]:
            return now - since
        return 0.0

    def admit(self, waiter: Waiter) -> bool:
        """Take a slot now, or queue ``waiter``, who is told when one is taken for it later (``False``).

        Raises ``Unavailable`` with a ``retry_after`` when the queue is full too.
        """
        if self.limit is None or (self.running < self.limit and not self._waiting):
            self.running += 1
            if self.running == self.limit:
                self._gap_began = perf_counter()
            return True
        if len(self._waiting) >= self.max_queue:
            raise Unavailable(
                f"All {self.limit} slots of this model are taken and {self.waiting} requests wait already.",
                retry_after=self.expected_wait(),
            )
        self._waiting[waiter] = perf_counter()
        return False

    def withdraw(self, waiter: Waiter) -> None:
        """Leave the queue."""
        self._waiting.pop(waiter, None)

    def timed_out(self, limit: float) -> QueueTimeout:
        """Give the error for a request that waited as long as it may."""
        return QueueTimeout(
            f"No slot became free within {limit:g} s; {self.waiting} requests are waiting for this model.",
            retry_after=self.expected_wait(),
        )

    def expected_wait(self) -> float:
        """Estimate in seconds when a request that comes now could start: queue length times the mean gap, 1 to 60 s."""
        return min(60.0, max(1.0, (self.waiting + 1) * self._mean_gap))

    def release(self) -> None:
        """Give a slot back, which goes to the head of the queue. Called by ``Lease`` alone, once for each slot."""
        if self.running == self.limit:
            # Only while all slots are taken does the gap between two releases say how soon one becomes free.
            now = perf_counter()
            self._mean_gap += SMOOTHING * (now - self._gap_began - self._mean_gap)
            self._gap_began = now
        self.running -= 1
        while self._waiting and (self.limit is None or self.running < self.limit):
            waiter, _ = self._waiting.popitem(last=False)
            self.running += 1
            waiter.granted()
