"""The life of the data plane: its beat, and its end in three phases."""

from __future__ import annotations

import asyncio
import gc
import resource
import sys
from collections.abc import Callable, Iterable
from time import monotonic, perf_counter
from typing import Any, Protocol

BEAT_SECONDS = 0.1
"""How often the data plane looks at its clocks. Deadlines are kept to within two beats; where more than 50 requests or
connections are open, to within two rounds, of about a second at most (``Round``)."""

_SWITCH_SECONDS = 0.0005
"""Python's switch interval, in seconds. It matters only while two threads have work."""


class Heart:
    """The one ticker of the data plane: calls everything that has deadlines, and measures how late it was itself."""

    def __init__(self, tick: Callable[[float], None], lagged: Callable[[float], None]) -> None:
        self._tick = tick
        self._lagged = lagged
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._waited_for: asyncio.Event | None = None
        self.last_beat = monotonic()

    def start(self) -> None:
        """Beat from now on, on the running loop."""
        self._due = perf_counter() + BEAT_SECONDS
        self._timer = asyncio.get_running_loop().call_later(BEAT_SECONDS, self._beat)

    def stop(self) -> None:
        """Beat no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def next_beat(self) -> None:
        """Wait until it has beaten once more."""
        self._waited_for = self._waited_for or asyncio.Event()
        await self._waited_for.wait()

    def _beat(self) -> None:
        now = perf_counter()
        self._lagged(max(0.0, now - self._due))
        self.last_beat = monotonic()
        try:
            self._tick(now)
        finally:
            self.start()
            waited_for, self._waited_for = self._waited_for, None
            if waited_for is not None:
                waited_for.set()


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


def allow_files(wanted: int) -> int:
    """Let this process have ``wanted`` files and sockets open, as far as the system allows; return how many it may.

    Shells start programs with a limit of 1024, which a thousand clients exhaust, and with it the probes' connections.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return max(soft, allowed)


async def cancelled(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait until they have ended."""
    under_way = list(tasks)
    for task in under_way:
        task.cancel()
    await asyncio.gather(*under_way, return_exceptions=True)


def hold_the_interpreter_briefly() -> None:
    """Have other threads give the interpreter back within half a millisecond when the loop wants it.

    Python lets them keep it for five. As writing the metrics takes milliseconds, a scrape would make each event that
    comes meanwhile wait for its end, or for those five. A single call into C may still take longer.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)


def spare_the_collector() -> None:
    """Keep the cyclic collector off what lives for ever, and let it look less often at what does not.

    A request leaves no cycles behind. At the default threshold of 700 objects the collector would walk thousands of
    times a minute, and its longest walks are tens of milliseconds in which no token is relayed.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
