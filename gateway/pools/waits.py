"""How long requests may wait for a replica and for a slot of a pool, and how long they may take at a replica then."""

from __future__ import annotations

from gateway.pools.timeouts import NO_TIMEOUTS, Timeouts

_SHORT_SECONDS = 5.0
"""Below this, waiting has to be timed more closely than a sweep over all requests does."""


class Waits:
    """The times allowed before one pool and at its replicas, in seconds; moments are ``perf_counter`` readings."""

    __slots__ = ("gate_moved_at", "hold", "queue_timeout", "short", "timeouts")

    def __init__(self) -> None:
        self.hold = 0.0
        """How long requests wait while no replica is ready but one may be soon; 0: not at all."""
        self.queue_timeout: float | None = None
        """How long requests wait for a slot; ``None``: as ``[gateway.timeouts]`` has it."""
        self.timeouts = NO_TIMEOUTS
        """How long requests that come from now on may take at a replica."""
        self.short = False
        """Whether any of these is so short that it has to be timed closely."""
        self.gate_moved_at = 0.0
        """When requests began or ceased to be held."""

    def __repr__(self) -> str:
        return f"<Waits [hold {self.hold:g} s; queue {self.queue_timeout} s; {self.timeouts}]>"

    def set_waits(self, hold: float, queue_timeout: float | None) -> None:
        """Change how long requests wait for a replica and for a slot; those too that wait already."""
        self.hold, self.queue_timeout = hold, queue_timeout
        self._look_for_short_ones()

    def set_timeouts(self, timeouts: Timeouts) -> None:
        """Change how long the requests that come from now on may take at a replica."""
        self.timeouts = timeouts
        self._look_for_short_ones()

    def _look_for_short_ones(self) -> None:
        _, *timeouts = self.timeouts
        self.short = any(0 < each < _SHORT_SECONDS for each in (self.hold, self.queue_timeout or 0.0, *timeouts))

    def until(self, since: float, queue_timeout: float, *, held: bool) -> float:
        """Tell until when a request may wait that began to at ``since``.

        ``queue_timeout`` is what counts where the pool has none. The time that it is held counts by itself, and so does
        the time in the queue after that.
        """
        limit = queue_timeout if self.queue_timeout is None else self.queue_timeout
        return max(since, self.gate_moved_at) + (self.hold if held else limit)
