"""Waiting for a condition by letting the loop run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count

PATIENCE = 60.0
"""Seconds that anything may take on the busiest machine: it only keeps a test that fails from hanging."""

_BUSY_TURNS = 100
"""So many turns of the loop follow each other at once, in which nearly everything happens that the loop itself does."""


async def eventually(condition: Callable[[], object], within: float = PATIENCE) -> None:
    """Let the loop run until the condition holds. Raises ``TimeoutError`` after ``within`` seconds."""
    async with asyncio.timeout(within):
        for turn in count():
            if condition():
                return
            # What another thread or process does comes sooner where this one leaves it the core.
            await asyncio.sleep(0 if turn < _BUSY_TURNS else 0.001)
