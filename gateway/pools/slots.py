"""How many requests may run at once: the slots of a pool with a limit, counted here or for several processes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from time import perf_counter
from typing import Protocol

_SMOOTHING = 0.1
"""The weight of the newest gap between two freed slots in the running mean of such gaps."""


class Slots(Protocol):
    """The slots of a pool with a limit, and what all who share them must know of each other's queues.

    ``running``, ``waiting`` and the limit are those of all who share the slots; ranks are those of a ``Queue``.
    """

    limit: int

    lock: AbstractContextManager[object]
    """Held while it is decided who gets a slot. What is taken below the limit without it cannot exceed the limit."""

    @property
    def running(self) -> int:
        """How many slots are taken."""

    @property
    def waiting(self) -> int:
        """How many requests wait for one."""

    def try_take(self) -> bool:
        """Take a slot if one is free and no request waits; ``False`` may also mean that only the lock can tell."""

    def take(self) -> None:
        """Take a slot that is free, while the lock is held."""

    def give_back(self) -> bool:
        """Give a slot back, and return whether requests wait for one."""

    def show_queue(self, length: int, head_rank: int) -> None:
        """Publish how many requests wait here, and the rank of the next of them."""

    def next_is_here(self) -> bool:
        """Whether the waiting request with the lowest rank of all waits here."""

    def wake_next(self) -> None:
        """Tell those with whom the next request waits, if that is not here, that a slot may be free."""

    def expected_gap(self) -> float:
        """Estimate the seconds until the next slot becomes free, from how fast they did; 0 if that is not known."""


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

    __slots__ = ("_pace", "limit", "lock", "running", "waiting")

    def __init__(self, limit: int, running: int = 0) -> None:
        self.limit = limit
        self.lock: AbstractContextManager[object] = nullcontext()
        self.running = running
        self.waiting = 0
        self._pace = Pace()

    def __repr__(self) -> str:
        return f"<LocalSlots [{self.running} of {self.limit} taken]>"

    def try_take(self) -> bool:
        """Take a slot if one is free and no request waits."""
        if self.running >= self.limit or self.waiting:
            return False
        self.running += 1
        if self.running == self.limit:
            self._pace.begin()
        return True

    def take(self) -> None:
        """Take a slot that is free."""
        self.running += 1

    def give_back(self) -> bool:
        """Give a slot back, and return whether requests wait for it."""
        full = self.running >= self.limit
        self.running -= 1
        if full:
            self._pace.freed()
        return self.waiting > 0

    def show_queue(self, length: int, _head_rank: int) -> None:
        """Record how many requests wait."""
        self.waiting = length

    def next_is_here(self) -> bool:
        """Whether any request waits."""
        return self.waiting > 0

    def wake_next(self) -> None:
        """Do nothing: no request waits elsewhere."""

    def expected_gap(self) -> float:
        """Estimate the seconds until the next slot becomes free."""
        return self._pace.mean
