"""The lines of batches that are under way at one pool: how many may be, and which ones yield."""

from __future__ import annotations

import asyncio
from itertools import islice
from time import perf_counter
from typing import Any

from gateway.batches.window import Round, Window, next_window
from gateway.pools.pool import Pool
from gateway.pools.queue import LOWEST_CLASS

_FEWEST = 4
"""A round has so many lines at least, so that one slow line says little."""

_KEPT_FREE = 8
"""One slot of so many is left free for the interactive request that comes next."""


_SMOOTHING = 0.1
"""The weight of the latest line in the mean of how long lines take."""

_REMEMBERED_SECONDS = 600.0
"""How old the measurement of the idle engine may be; then the window begins anew (a slowdown, as in LEDBAT++)."""


class Lane:
    """Decides how many lines run at one pool, ``most`` at once, and makes room for interactive requests.

    Lines have the lowest class, so an interactive request that waits is served before any line that waits. It does not
    wait for those that run either: the youngest of them are stopped at once, as many as requests wait, and asked again
    later.
    """

    def __init__(self, pool: Pool, most: int) -> None:
        self.pool = pool
        self.window = Window()
        self._most = most
        self._running: dict[asyncio.Task[Any], None] = {}
        self._stopped: set[asyncio.Task[Any]] = set()
        self._seconds: list[float] = []
        self._least = 0.0
        """Seconds for each token on the engine as idle as it was seen, 0 where that is not known."""
        self._took = 0.0
        """Seconds that a line takes, as a running mean."""
        self._next_start = 0.0
        self._measured_at = perf_counter()
        self._filled = self._lowered = False
        pool.admission.on_wait = self.make_room

    def __repr__(self) -> str:
        return f"<Lane {self.pool.name!r} [{len(self._running)} of {int(self.window.size)} lines under way]>"

    def close(self) -> None:
        """Let the pool go its own way."""
        self.pool.admission.on_wait = None

    @property
    def running(self) -> int:
        """How many lines are under way."""
        return len(self._running)

    @property
    def starts_in(self) -> float:
        """In how many seconds the next line may begin, as far as that depends on time.

        Beside interactive requests, lines begin one by one and evenly spread (as in TCP pacing): those that begin
        together end together, and an engine that reads all of their successors' prompts at once is late for others.
        """
        return max(0.0, self._next_start - perf_counter()) if self._busy else 0.0

    @property
    def room(self) -> int:
        """How many more lines may begin now."""
        if not self._busy:
            return self._room
        return min(1, self._room) if self._next_start <= perf_counter() else 0

    @property
    def _room(self) -> int:
        pool, admission, running = self.pool, self.pool.admission, len(self._running)
        if not pool.on_call or admission.waiting:
            return 0
        if not admission.open:
            # A replica may be started for the first line; the others need not wait for it in the queue.
            return 0 if running else 1
        most = min(int(self.window.size), self._most)
        limit, free = admission.limit, admission.free
        if limit is not None and free is not None:
            kept_free = max(1, limit // _KEPT_FREE) if limit > 1 else 0
            most = min(most, running + free - kept_free)
        return max(0, most - running)

    def begun(self, task: asyncio.Task[Any]) -> None:
        """Note that a line is under way."""
        self._running[task] = None
        self._next_start = perf_counter() + self._took / self.window.size
        if len(self._running) >= min(int(self.window.size), self._most):
            self._filled = True

    def ended(self, task: asyncio.Task[Any]) -> bool:
        """Note that a line is under way no more; return whether it was stopped to make room."""
        del self._running[task]
        yielded = task in self._stopped
        self._stopped.discard(task)
        return yielded

    def answered(self, seconds: float, tokens: int) -> None:
        """Take into account how long an engine took for a line."""
        self._took += (seconds - self._took) * (_SMOOTHING if self._took else 1.0)
        self._seconds.append(seconds / max(1, tokens))
        if len(self._seconds) < max(_FEWEST, int(self.window.size)):
            return
        now = perf_counter()
        if now - self._measured_at > _REMEMBERED_SECONDS:
            self._seconds.clear()
            self.window, self._least, self._measured_at = Window(), 0.0, now
            return
        # Of the quick ones: what else makes a line slow is not the engine's load.
        typical = sorted(self._seconds)[len(self._seconds) // 4]
        self._least = min(self._least or typical, typical)
        delay = typical / self._least - 1 if self._least else None
        if not self._lowered:
            self._go_on(Round(False, False, delay, self._busy, self._filled))
        self._seconds.clear()
        self._filled = self._lowered = False

    def refused(self) -> None:
        """Take into account that a line was refused because something is full."""
        self._lower(Round(False, True, None, False, True))

    def make_room(self) -> None:
        """Stop as many lines as interactive requests wait for a slot."""
        admission = self.pool.admission
        if not self._running or not admission.open or not admission.waiting:
            return
        waiting = admission.waiting - admission.waiting_by_class().get(LOWEST_CLASS, 0) - len(self._stopped)
        if waiting <= 0:
            return
        self._lower(Round(True, False, None, True, True))
        youngest_first = (task for task in reversed(self._running) if task not in self._stopped)
        for task in list(islice(youngest_first, waiting)):
            self._stopped.add(task)
            task.cancel()

    # inside

    @property
    def _busy(self) -> bool:
        """Whether interactive requests are under way."""
        return sum(replica.in_flight for replica in self.pool.replicas) > len(self._running)

    def _lower(self, seen: Round) -> None:
        """Make the window smaller, once in a round: what else happens in it has the same cause."""
        if not self._lowered:
            self._lowered = True
            self._go_on(seen)

    def _go_on(self, seen: Round) -> None:
        self.window = next_window(self.window, seen, self._most)
