"""The slots of a pool for the node as a whole, in rows that several processes share.

Shared are three numbers per process: how many requests run, how many wait, and the rank of the next of those.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

from gateway.pools.slots import Pace
from gateway.processes.shared_cells import Row


class SlotRows(NamedTuple):
    """The rows of one pool: requests running, requests waiting, and the rank of the next one, in nanoseconds."""

    running: Row
    waiting: Row
    rank: Row

    def next_process(self) -> int | None:
        """Return the process where the request with the lowest rank waits; ``None`` if none waits."""
        found = [(rank, process) for process, rank in enumerate(self.rank) if self.waiting[process] > 0]
        return min(found)[1] if found else None

    def oldest_wait(self, now: float) -> float:
        """Return how long the first of all has waited, in seconds; ``now`` is a ``perf_counter`` reading."""
        first = self.next_process()
        # The clock is one for all processes (CLOCK_MONOTONIC).
        return 0.0 if first is None else max(0.0, now - self.rank[first] / 1e9)


class SharedSlots:
    """The part of one process in the slots that all of them share.

    The limit is never exceeded. Near it, slots are taken under a lock. Where as many slots are free as there are
    processes, none is needed: a process announces first that it takes one, and counts then. What others announced
    before it is counted, but for what still waits in a processor's store buffer, which is one announcement of each
    other process at most, and for that there is room.

    ``wake`` tells the process with this index that a slot may be free. ``here`` is how many requests of this process
    run already.
    """

    def __init__(
        self,
        limit: int,
        rows: SlotRows,
        lock: AbstractContextManager[object],
        own: int,
        wake: Callable[[int], None],
        here: int = 0,
    ) -> None:
        self.lock = lock
        self._rows = rows
        self._processes = len(rows.running)
        self._limit = limit
        self._plenty = limit - self._processes
        self._own = own
        self._here = rows.running[own] = here
        self._wake = wake
        self._pace = Pace()

    def __repr__(self) -> str:
        return f"<SharedSlots [{self.running} of {self._limit} taken, {self._here} of them here]>"

    @property
    def limit(self) -> int:
        """How many slots there are for all processes."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        self._limit = limit
        self._plenty = limit - self._processes

    @property
    def running(self) -> int:
        """How many slots all processes have taken."""
        return sum(self._rows.running)

    @property
    def waiting(self) -> int:
        """How many requests are in the queues of all processes."""
        return sum(self._rows.waiting)

    def try_take(self) -> bool:
        """Take a slot if so many are free that this needs no lock, and no request waits."""
        running, own = self._rows.running, self._own
        if sum(running) >= self._plenty or sum(self._rows.waiting) > 0:
            return False
        running[own] = self._here + 1
        if sum(running) > self._plenty:
            running[own] = self._here
            return False
        self._here += 1
        return True

    def take(self) -> None:
        """Take a slot that is free, while the lock is held."""
        self._here += 1
        self._rows.running[self._own] = self._here
        if self.running >= self._limit and not self.waiting:
            self._pace.begin()

    def give_back(self) -> bool:
        """Give a slot back, and return whether requests wait for one."""
        full = self.running >= self._limit
        self._here -= 1
        self._rows.running[self._own] = self._here
        waited_for = self.waiting > 0
        if full or waited_for:
            self._pace.freed()
        else:
            self._pace.end()
        return waited_for

    def show_queue(self, length: int, head_rank: int) -> None:
        """Let the others see who waits here; one that reads in between wakes this process for nothing at worst."""
        if length:
            self._rows.rank[self._own] = head_rank
        self._rows.waiting[self._own] = length

    def next_is_here(self) -> bool:
        """Whether the waiting request with the lowest rank of all waits in this process."""
        return self._rows.next_process() == self._own

    def wake_next(self) -> None:
        """Wake the process where the next request waits, if that is another one."""
        process = self._rows.next_process()
        if process is not None and process != self._own:
            self._wake(process)

    def expected_gap(self) -> float:
        """Estimate the seconds until the next slot becomes free, from how fast this process frees its share."""
        return self._pace.mean / self._processes
