"""The end of the data plane, in three phases."""

from __future__ import annotations

import asyncio
from typing import Protocol


class Drainable(Protocol):
    """What the end of the data plane asks of it."""

    def announce_end(self) -> None:
        """Turn readiness off and ask clients to close their connections, while still serving."""

    def stop_accepting(self) -> None:
        """Take no new connection and no new request, and refuse those that wait in a queue."""

    async def idle(self) -> None:
        """Wait until no request is under way."""

    def cancel_all(self) -> None:
        """End whatever is still under way with an error."""


async def drain(plane: Drainable, *, delay: float, within: float) -> bool:
    """End in three phases: announce for ``delay`` seconds, let the running finish ``within`` seconds, cancel the rest.

    Returns whether everything finished by itself.
    """
    plane.announce_end()
    await asyncio.sleep(delay)
    plane.stop_accepting()
    try:
        async with asyncio.timeout(within):
            await plane.idle()
    except TimeoutError:
        plane.cancel_all()
        return False
    return True
