"""The data plane's one timer, and how it visits large collections a part at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from time import monotonic, perf_counter
from typing import Generic, TypeVar

TICK_SECONDS = 0.1
"""How often the data plane looks at its clocks. Deadlines are kept to within two ticks; where more than 50 requests or
connections are open, to within two sweeps, of about a second at most (``Sweep``)."""

Member = TypeVar("Member")


class Ticker:
    """Calls everything that has deadlines, every tenth of a second, and measures how late it was itself."""

    def __init__(self, tick: Callable[[float], None], lagged: Callable[[float], None]) -> None:
        self._tick = tick
        self._lagged = lagged
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._waited_for: asyncio.Event | None = None
        self.last_tick = monotonic()

    def start(self) -> None:
        """Tick from now on, on the running loop."""
        self._due = perf_counter() + TICK_SECONDS
        self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self._on_timer)

    def stop(self) -> None:
        """Tick no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def next_tick(self) -> None:
        """Wait until it has ticked once more."""
        self._waited_for = self._waited_for or asyncio.Event()
        await self._waited_for.wait()

    def _on_timer(self) -> None:
        now = perf_counter()
        self._lagged(max(0.0, now - self._due))
        self.last_tick = monotonic()
        try:
            self._tick(now)
        finally:
            self.start()
            waited_for, self._waited_for = self._waited_for, None
            if waited_for is not None:
                waited_for.set()


class Sweep(Generic[Member]):
    """Visits a collection again and again, a batch of its members at each tick.

    Looking at ten thousand of anything at once would delay every token that comes meanwhile, and costs most where each
    one has left the processor's caches since the last look. A sweep takes ``ticks`` ticks, and one tick where there are
    no more than ``at_once`` members.
    """

    def __init__(self, *, ticks: int, at_once: int) -> None:
        self._ticks = ticks
        self._at_once = at_once
        self._left: list[Member] = []

    def __repr__(self) -> str:
        return f"<Sweep of {self._ticks} ticks [{len(self._left)} left]>"

    def next_batch(self, members: Collection[Member]) -> list[Member]:
        """Give those of ``members`` whose turn it is; some may have left the collection since the sweep began."""
        if not self._left:
            self._left = list(members)
        number = max(self._at_once, len(members) // self._ticks)
        turn = self._left[-number:]
        del self._left[-number:]
        return turn
