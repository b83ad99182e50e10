"""How many requests may run at once: the slots of a pool with a limit, counted here or for several processes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from time import perf_counter
from typing import NamedTuple, Protocol

from gateway.pools.virtual_time import VirtualTime

NO_LIMIT = sys.maxsize
"""The limit of a pool that has none and yet slots, because its requests wait for a replica."""

ANY_NUMBER = NO_LIMIT - 1
"""The limit of a pool that limits tokens alone."""

_SMOOTHING = 0.1
"""The weight of the newest gap between two freed slots in the running mean of such gaps."""


class Slots(Protocol):
    """The slots of a pool with a limit, and what all who share them must know of each other's queues.

    ``running``, ``waiting``, ``tokens`` and the limits are those of all who share the slots; ranks are those of a
    ``FairQueue``, and ``time`` is the virtual time in which they are given.
    """

    limit: int

    max_tokens: int | None
    """How many tokens the requests may have that run at once; a larger one runs alone. ``None`` for any number."""

    time: VirtualTime

    lock: AbstractContextManager[object]
    """Held while it is decided who gets a slot. What is taken below the limit without it cannot exceed the limit."""

    @property
    def running(self) -> int:
        """How many slots are taken."""

    @property
    def waiting(self) -> int:
        """How many requests wait for one."""

    def try_take(self) -> bool:
        """Take a slot if one is free and no request waits; ``False`` may also mean that only the lock can tell.

        Where tokens are limited, it always means that.
        """

    def has_room(self, tokens: int) -> bool:
        """Whether there is a slot for a request with so many tokens, while the lock is held."""

    def take(self, tokens: int) -> None:
        """Take a slot that is free, while the lock is held."""

    def give_back(self, tokens: int) -> bool:
        """Give a slot back, and return whether requests wait for one."""

    def show_queue(self, length: int, head_rank: int, since: int) -> None:
        """Publish how many requests wait here, the rank of the next of them, and when it came, in nanoseconds."""

    def next_is_here(self) -> bool:
        """Whether the waiting request with the lowest rank of all waits here."""

    def wake_next(self) -> None:
        """Tell those with whom the next request waits, if that is not here, that a slot may be free."""

    def expected_gap(self) -> float:
        """Estimate the seconds until the next slot becomes free, from how fast they did; 0 if that is not known."""

    def measure_anew(self) -> None:
        """Let no gap count between slots that began before now."""

    @property
    def here(self) -> SlotsHere:
        """What is counted of this process."""

    def correct(self, running: int, tokens: int) -> None:
        """Count so many slots with so many tokens of this process from now on, whatever was counted before."""


class SlotsHere(NamedTuple):
    """What is counted of one process: slots taken, their tokens, and requests waiting."""

    running: int
    tokens: int
    waiting: int


class Pace:
    """How fast slots become free while all of them are taken, as a running mean of the gaps in between.

    At other times the gap between two releases says how seldom requests come.
    """

    __slots__ = ("_began", "mean")

    def __init__(self) -> None:
        self.mean = 0.0
        """Seconds; 0 before the first gap."""
        self._began: float | None = None

    def begin(self) -> None:
        """All slots are taken from now on."""
        self._began = perf_counter()

    def freed(self) -> None:
        """A slot has become free, and the next request takes it."""
        now = perf_counter()
        if self._began is not None:
            self.mean += _SMOOTHING * (now - self._began - self.mean)
        self._began = now

    def end(self) -> None:
        """Slots are free: the next gap begins when all of them are taken again."""
        self._began = None


NewSlots = Callable[[int, int], Slots]
"""Makes the slots of a pool: how many there are, and how many requests of this process run already."""


class LocalSlots:
    """The slots of a pool that one process alone uses."""

    __slots__ = ("_pace", "limit", "lock", "max_tokens", "running", "time", "tokens", "waiting")

    def __init__(self, limit: int, running: int = 0) -> None:
        self.limit = limit
        self.max_tokens: int | None = None
        self.lock: AbstractContextManager[object] = nullcontext()
        self.running = running
        self.waiting = 0
        self.tokens = 0
        self.time = VirtualTime()
        self._pace = Pace()

    def __repr__(self) -> str:
        return f"<LocalSlots [{self.running} of {self.limit} taken]>"

    def try_take(self) -> bool:
        """Take a slot if one is free and no request waits."""
        if self.running >= self.limit or self.waiting or self.max_tokens is not None:
            return False
        self.running += 1
        if self.running == self.limit:
            self._pace.begin()
        return True

    def has_room(self, tokens: int) -> bool:
        """Whether there is a slot for a request with so many tokens."""
        return self.running < self.limit and tokens_fit(self.tokens, tokens, self.max_tokens)

    def take(self, tokens: int) -> None:
        """Take a slot that is free."""
        self.running += 1
        self.tokens += tokens
        if self.running >= self.limit and not self.waiting:
            self._pace.begin()

    def give_back(self, tokens: int) -> bool:
        """Give a slot back, and return whether requests wait for it."""
        full = self.running >= self.limit or self.waiting > 0
        self.running -= 1
        self.tokens -= tokens
        if full:
            self._pace.freed()
        return self.waiting > 0

    def show_queue(self, length: int, _head_rank: int, _since: int) -> None:
        """Record how many requests wait."""
        if length and not self.waiting and self.running < self.limit:
            # They wait for tokens, or for a replica; those that wait for a slot began to when the last one was taken.
            self._pace.begin()
        self.waiting = length

    def next_is_here(self) -> bool:
        """Whether any request waits."""
        return self.waiting > 0

    def wake_next(self) -> None:
        """Do nothing: no request waits elsewhere."""

    def expected_gap(self) -> float:
        """Estimate the seconds until the next slot becomes free."""
        return self._pace.mean

    def measure_anew(self) -> None:
        """Let the next gap begin with the next slot that becomes free."""
        self._pace.end()

    @property
    def here(self) -> SlotsHere:
        """What is counted."""
        return SlotsHere(self.running, self.tokens, self.waiting)

    def correct(self, running: int, tokens: int) -> None:
        """Count so many slots and tokens from now on."""
        self.running, self.tokens = running, tokens


def tokens_fit(used: int, more: int, most: int | None) -> bool:
    """Whether a request with ``more`` tokens may run beside those with ``used``; one that is too large runs alone."""
    return most is None or used + more <= most or used == 0
