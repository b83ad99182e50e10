"""Notices that the time of day has jumped, which nothing here depends on but people who read logs do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter, time

LOOK_SECONDS = 1.0
"""How often the clocks are compared."""

JUMP_SECONDS = 1.0
"""A smaller difference is how NTP slews a clock."""


class WallClock:
    """Compares the time of day with the monotonic clock, which all deadlines follow."""

    def __init__(self) -> None:
        self._ahead = time() - perf_counter()

    def __repr__(self) -> str:
        return f"<WallClock [{self._ahead:.3f} s ahead of the monotonic clock]>"

    def jump(self) -> float:
        """Tell by how many seconds the time of day has jumped since the last look, 0 if it has not."""
        before, self._ahead = self._ahead, time() - perf_counter()
        jump = self._ahead - before
        return jump if abs(jump) >= JUMP_SECONDS else 0.0


async def watch(say: Callable[[str], None]) -> None:
    """Say when the time of day has jumped; for ever."""
    clock = WallClock()
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        if jump := clock.jump():
            say(f"the system's clock jumped by {jump:+.1f} s; deadlines and limits follow another clock, which did not")
