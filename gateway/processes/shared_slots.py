"""The slots of a pool for the node as a whole, in rows that several processes share.

Shared are five numbers per process: how many requests run, how many tokens those have, how many wait, the rank of the
next of those, and when it came. The tags of virtual time are shared besides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

from gateway.pools.slots import Pace, SlotsHere, tokens_fit
from gateway.pools.virtual_time import VirtualTime
from gateway.processes.shared_cells import Row


class SlotRows(NamedTuple):
    """The rows of one pool: requests running, requests waiting, the next one's rank and arrival, and tokens running.

    The arrival is in nanoseconds, by the clock of ``perf_counter``, which is one for all processes (CLOCK_MONOTONIC).
    """

    running: Row
    waiting: Row
    rank: Row
    since: Row
    tokens: Row

    def next_process(self) -> int | None:
        """Return the process where the request with the lowest rank waits; ``None`` if none waits.

        Of those with one rank it is the request that came first.
        """
        rank, since = self.rank, self.since
        found = [(rank[each], since[each], each) for each, number in enumerate(self.waiting) if number > 0]
        return min(found)[2] if found else None

    def oldest_wait(self, now: float) -> float:
        """Return how long the first of all has waited, in seconds; ``now`` is a ``perf_counter`` reading."""
        first = self.next_process()
        return 0.0 if first is None else max(0.0, now - self.since[first] / 1e9)


class SharedTags:
    """The tags of virtual time that all processes share: each is the highest of what any of them has written."""

    __slots__ = ("_own", "_rows")

    def __init__(self, rows: Sequence[Row], own: int) -> None:
        self._rows = rows
        self._own = own

    def __getitem__(self, at: int) -> int:
        return max(self._rows[at])

    def __setitem__(self, at: int, value: int) -> None:
        self._rows[at][self._own] = value


class SharedSlots:
    """The part of one process in the slots that all of them share.

    The limit is never exceeded. Near it, slots are taken under a lock. Where as many slots are free as there are
    processes, none is needed: a process announces first that it takes one, and counts then. What others announced
    before it is counted, but for what still waits in a processor's store buffer, which is one announcement of each
    other process at most, and for that there is room.

    ``wake`` tells the process with this index that a slot may be free. ``here`` is how many requests of this process
    run already. ``time`` is the virtual time that the processes share.
    """

    def __init__(
        self,
        limit: int,
        rows: SlotRows,
        lock: AbstractContextManager[object],
        own: int,
        wake: Callable[[int], None],
        here: int = 0,
        time: VirtualTime | None = None,
    ) -> None:
        self.lock = lock
        self.max_tokens: int | None = None
        self.time = VirtualTime() if time is None else time
        self._rows = rows
        self._processes = len(rows.running)
        self._limit = limit
        self._plenty = limit - self._processes
        self._own = own
        self._here = rows.running[own] = here
        self._tokens = rows.tokens[own] = 0
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
        if sum(running) >= self._plenty or sum(self._rows.waiting) > 0 or self.max_tokens is not None:
            return False
        running[own] = self._here + 1
        if sum(running) > self._plenty:
            running[own] = self._here
            return False
        self._here += 1
        return True

    def has_room(self, tokens: int) -> bool:
        """Whether there is a slot for a request with so many tokens, while the lock is held."""
        return self.running < self._limit and tokens_fit(sum(self._rows.tokens), tokens, self.max_tokens)

    def take(self, tokens: int) -> None:
        """Take a slot that is free, while the lock is held."""
        self._here += 1
        self._rows.running[self._own] = self._here
        if tokens:
            self._tokens += tokens
            self._rows.tokens[self._own] = self._tokens
        if self.running >= self._limit and not self.waiting:
            self._pace.begin()

    def give_back(self, tokens: int) -> bool:
        """Give a slot back, and return whether requests wait for one."""
        full = self.running >= self._limit
        self._here -= 1
        self._rows.running[self._own] = self._here
        if tokens:
            self._tokens -= tokens
            self._rows.tokens[self._own] = self._tokens
        waited_for = self.waiting > 0
        if full or waited_for:
            self._pace.freed()
        else:
            self._pace.end()
        return waited_for

    def show_queue(self, length: int, head_rank: int, since: int) -> None:
        """Let the others see who waits here; one that reads in between wakes this process for nothing at worst."""
        if length:
            self._rows.rank[self._own] = head_rank
            self._rows.since[self._own] = since
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

    def measure_anew(self) -> None:
        """Let the next gap begin with the next slot that becomes free."""
        self._pace.end()

    @property
    def here(self) -> SlotsHere:
        """What the cells of this process say."""
        rows, own = self._rows, self._own
        return SlotsHere(rows.running[own], rows.tokens[own], rows.waiting[own])

    def correct(self, running: int, tokens: int) -> None:
        """Count so many slots and tokens of this process from now on."""
        self._here = self._rows.running[self._own] = running
        self._tokens = self._rows.tokens[self._own] = tokens
