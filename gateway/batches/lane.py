"""The lines of batches that are under way at one pool: how many may be, and which ones yield."""

from __future__ import annotations

import asyncio
from itertools import islice
from math import inf
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
"""How old the measurement of the idle engine may be; then the windows begin anew (a slowdown, as in LEDBAT++)."""

_QUIET_SECONDS = 5.0
"""How long after the last interactive request lines are alone: those of one person come with pauses."""

_PACE = 1.25
"""How many times as often as a window's worth of lines ends may lines begin, so that the window can be filled."""

_CATCH_UP = 0.125
"""The share of a window that may begin at once while lines are alone, where the loop or its timers were late."""


class Lane:
    """Decides how many lines run at one pool, ``most`` at once, and makes room for interactive requests.

    Lines have the lowest class, so an interactive request that waits is served before any line that waits. It does not
    wait for those that run either: the youngest of them are stopped at once, as many as requests wait, and asked again
    later.

    There is a window for lines that are alone and another for lines beside interactive requests, so that what was
    found out in one situation holds at once when it comes back.
    """

    def __init__(self, pool: Pool, most: int, first: Window = Window()) -> None:  # noqa: B008 - it is immutable
        self.pool = pool
        self._most = most
        self._alone = self._beside = first
        self._is_beside = False
        """Whether interactive requests are under way, or were a moment ago."""
        self._interactive_at = -inf
        self._running: dict[asyncio.Task[Any], None] = {}
        self._stopped: set[asyncio.Task[Any]] = set()
        self._seconds: list[float] = []
        self._foreign = 0
        """How many lines are still to end that began in the other situation and say nothing of this one."""
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
    def window(self) -> Window:
        """How many lines may be under way as things are now."""
        return self._beside if self._is_beside else self._alone

    @property
    def starts_in(self) -> float:
        """In how many seconds the next line may begin where that depends on time alone, else 0.

        Lines begin one by one and evenly spread (as in TCP pacing): those that begin together end together, and an
        engine that reads all of their successors' prompts at once is late for others.
        """
        return max(0.0, self._next_start - perf_counter()) if self._room else 0.0

    @property
    def room(self) -> int:
        """How many more lines may begin now."""
        self._look()
        room = self._room
        if not room or not self._interval:
            return room
        late = perf_counter() - self._next_start
        return 0 if late < 0 else min(room, 1 + int(min(late, self._catch_up) / self._interval))

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
        self._next_start = max(self._next_start, perf_counter() - self._catch_up) + self._interval
        if len(self._running) >= min(int(self.window.size), self._most):
            self._filled = True

    def ended(self, task: asyncio.Task[Any]) -> bool:
        """Note that a line is under way no more; return whether it was stopped to make room."""
        del self._running[task]
        self._foreign = min(self._foreign, len(self._running))
        yielded = task in self._stopped
        self._stopped.discard(task)
        return yielded

    def answered(self, seconds: float, tokens: int) -> None:
        """Take into account how long an engine took for a line."""
        self._look()
        self._took += (seconds - self._took) * (_SMOOTHING if self._took else 1.0)
        if self._foreign:
            self._foreign -= 1
            return
        self._seconds.append(seconds / max(1, tokens))
        if len(self._seconds) < max(_FEWEST, int(self.window.size)):
            return
        now = perf_counter()
        if now - self._measured_at > _REMEMBERED_SECONDS:
            self._alone = self._beside = Window()
            self._least, self._measured_at = 0.0, now
            self._begin_round()
            return
        # Of the quick ones: what else makes a line slow is not the engine's load.
        typical = sorted(self._seconds)[len(self._seconds) // 4]
        self._least = min(self._least or typical, typical)
        delay = typical / self._least - 1 if self._least else None
        if not self._lowered:
            self._go_on(Round(False, False, delay, self._is_beside, self._filled))
        self._begin_round()

    def refused(self) -> None:
        """Take into account that a line was refused because something is full."""
        self._lower(Round(False, True, None, self._is_beside, True))

    def make_room(self) -> None:
        """Stop as many lines as interactive requests wait for a slot."""
        admission = self.pool.admission
        if not self._running or not admission.open or not admission.waiting:
            return
        waiting = admission.waiting - admission.waiting_by_class().get(LOWEST_CLASS, 0) - len(self._stopped)
        if waiting <= 0:
            return
        self._interactive_at = perf_counter()
        self._look()
        self._lower(Round(True, False, None, True, True))
        youngest_first = (task for task in reversed(self._running) if task not in self._stopped)
        for task in list(islice(youngest_first, waiting)):
            self._stopped.add(task)
            task.cancel()

    # inside

    @property
    def _interval(self) -> float:
        """Seconds between the beginnings of two lines; 0 where it is not known yet how long lines take."""
        return self._took / (_PACE * self.window.size)

    @property
    def _catch_up(self) -> float:
        return 0.0 if self._is_beside else self._took * _CATCH_UP

    def _look(self) -> None:
        """See whether lines are alone, and begin with the other window where that has changed."""
        now = perf_counter()
        if sum(replica.in_flight for replica in self.pool.replicas) > len(self._running):
            self._interactive_at = now
        is_beside = now - self._interactive_at < _QUIET_SECONDS
        if is_beside != self._is_beside:
            self._is_beside, self._foreign = is_beside, len(self._running)
            self._begin_round()

    def _begin_round(self) -> None:
        self._seconds.clear()
        self._filled = self._lowered = False

    def _lower(self, seen: Round) -> None:
        """Make the window smaller, once in a round: what else happens in it has the same cause."""
        if not self._lowered:
            self._lowered = True
            self._go_on(seen)

    def _go_on(self, seen: Round) -> None:
        window = next_window(self.window, seen, self._most)
        if self._is_beside:
            self._beside = window
        else:
            self._alone = window
