"""Admission for the node as a whole: the slots and the queue of one pool, shared by several processes.

Each process queues its own requests; what is shared are three numbers per process: how many run, how many wait, and
since when the first of those has waited. A free slot goes to the request that has waited longest, wherever it waits:
its process is woken and takes the slot itself.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import NamedTuple

from gateway.core.errors import Unavailable
from gateway.pools.admission import SMOOTHING, Admission, Waiter
from gateway.processes.shared_cells import Lock, Row

_NANOSECONDS = 1e9


class Counts(NamedTuple):
    """The rows of one pool: requests running, requests waiting, and since when the first has waited, in nanoseconds."""

    running: Row
    waiting: Row
    since: Row

    def longest_waiting(self) -> int | None:
        """Return the process whose first request has waited longest; ``None`` if nobody waits."""
        found = [(since, process) for process, since in enumerate(self.since) if self.waiting[process] > 0]
        return min(found)[1] if found else None

    def oldest_wait(self, now: float) -> float:
        """Return how long the first of all has waited, in seconds; ``now`` is a ``perf_counter`` reading."""
        first = self.longest_waiting()
        # The clock is one for all processes (CLOCK_MONOTONIC).
        return 0.0 if first is None else max(0.0, now - self.since[first] / _NANOSECONDS)


class SharedAdmission(Admission):
    """The part of one process in the slots and the queue of a pool with a limit.

    The limit is never exceeded. Near it, slots are taken under a lock. Where as many slots are free as there are
    processes, none is needed: a process announces first that it takes one, and counts then. Whoever announced before it
    is counted, but for what still waits in a processor's store buffer, which is one announcement of each other process
    at most, and for that there is room.

    A slot is given back without the lock too. A process that begins to wait just then might miss it, and the process
    that gives it back might miss who waits; ``tick`` finds such a slot.
    """

    limit: int

    def __init__(
        self, limit: int, max_queue: int, counts: Counts, lock: Lock, own: int, wake: Callable[[int], None]
    ) -> None:
        super().__init__(limit, max_queue)
        self._counts = counts
        self._processes = len(counts.running)
        self._plenty = limit - self._processes
        self._lock = lock
        self._own = own
        self._wake = wake
        self._saturated = False
        self._was_free = False

    def __repr__(self) -> str:
        running, waiting = sum(self._counts.running), self.waiting
        here = f"{self.running} running here, {len(self._waiting)} waiting"
        return f"<SharedAdmission [{running} running, {waiting} waiting; {here}; limit {self.limit}]>"

    @property
    def waiting(self) -> int:
        """How many requests are in the queues of all processes."""
        return sum(self._counts.waiting)

    def admit(self, waiter: Waiter) -> bool:
        """Take a slot now, or queue ``waiter``, who is told when one is taken for it later (``False``).

        Raises ``Unavailable`` with a ``retry_after`` when the queue is full too.
        """
        counts, own = self._counts, self._own
        if sum(counts.running) < self._plenty and not sum(counts.waiting):
            counts.running[own] = self.running + 1
            if sum(counts.running) <= self._plenty:
                self.running += 1
                return True
            counts.running[own] = self.running
        with self._lock:
            waiting = sum(counts.waiting)
            if not waiting and sum(counts.running) < self.limit:
                self._take()
                return True
            if waiting < self.max_queue:
                self._waiting[waiter] = perf_counter()
                self._show_queue()
        if waiting >= self.max_queue:
            raise Unavailable(
                f"All {self.limit} slots of this model are taken and {waiting} requests wait already.",
                retry_after=self.expected_wait(),
            )
        # A slot may have become free, or an announcement may have been withdrawn, while this request joined the queue.
        self.serve()
        return False

    def withdraw(self, waiter: Waiter) -> None:
        """Leave the queue."""
        if self._waiting.pop(waiter, None) is not None:
            self._show_queue()

    def expected_wait(self) -> float:
        """Estimate in seconds when a request that comes now could start, from how fast this process frees its share."""
        return min(60.0, max(1.0, (self.waiting + 1) * self._mean_gap / self._processes))

    def release(self) -> None:
        """Give a slot back, which goes to whoever has waited longest. Called by ``Lease`` alone, once for each slot."""
        self.running -= 1
        self._counts.running[self._own] = self.running
        saturated = sum(self._counts.waiting) > 0
        if saturated:
            now = perf_counter()
            if self._saturated:
                self._mean_gap += SMOOTHING * (now - self._gap_began - self._mean_gap)
            self._gap_began = now
            self.serve()
        self._saturated = saturated

    def serve(self) -> None:
        """Give free slots to those who wait here, up to the first who has waited longer elsewhere, and wake that one.

        Called whenever a slot may have become free. A process that is woken in vain passes the word on.
        """
        counts, own = self._counts, self._own
        served: list[Waiter] = []
        elder = None
        with self._lock:
            while sum(counts.running) < self.limit:
                elder = counts.longest_waiting()
                if elder != own or not self._waiting:
                    break
                served.append(self._serve_first())
        if elder is not None and elder != own:
            self._wake(elder)
        self._grant(served)

    def tick(self) -> None:
        """Take what is free at two ticks in a row, in turn or not: whoever should have taken it does not.

        That is a process that is stuck, or a word that was lost. So nobody waits for ever.
        """
        free = bool(self._waiting) and sum(self._counts.running) < self.limit
        served: list[Waiter] = []
        if free and self._was_free:
            with self._lock:
                while self._waiting and sum(self._counts.running) < self.limit:
                    served.append(self._serve_first())
        self._was_free = free
        self._grant(served)

    def _serve_first(self) -> Waiter:
        """Take a slot for the first who waits here. The lock is held."""
        waiter, _ = self._waiting.popitem(last=False)
        self._show_queue()
        self._take()
        return waiter

    def _take(self) -> None:
        self.running += 1
        self._counts.running[self._own] = self.running

    def _show_queue(self) -> None:
        """Let the others see who waits here; whoever reads in between wakes this process for nothing at worst."""
        counts, own = self._counts, self._own
        for since in self._waiting.values():
            counts.since[own] = int(since * _NANOSECONDS)
            break
        counts.waiting[own] = len(self._waiting)

    def _grant(self, served: list[Waiter]) -> None:
        for waiter in served:
            waiter.granted()
