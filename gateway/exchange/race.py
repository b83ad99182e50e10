"""Two attempts at one request: where the first replica is late, a second one is asked, and the first response wins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gateway.core.errors import Unavailable
from gateway.exchange.attempt import DONE, Attempt
from gateway.exchange.decide import Failure
from gateway.exchange.upstream_request import UpstreamRequest
from gateway.pools.pool import Pool
from gateway.pools.replica import Replica


class Timer(Protocol):
    """A call that is to come."""

    def cancel(self) -> None:
        """Let it not come."""


CallLater = Callable[[float, Callable[[], None]], Timer]
"""Calls a function in so many seconds."""


class Race:
    """Waits for the moment at which a second replica is asked, and holds that attempt beside the first.

    ``ask`` begins an attempt at a replica. ``failure`` is how the first attempt has failed, once it has been left to
    the second: that is what the client is told if the second fails too, and decides whether a third replica is asked.
    """

    __slots__ = ("_ask", "_first", "_pool", "_request", "_timer", "failure", "rival")

    def __init__(
        self,
        pool: Pool,
        request: UpstreamRequest,
        first: Replica,
        ask: Callable[[Replica], Attempt],
        delay: float,
        call_later: CallLater,
    ) -> None:
        self._pool = pool
        self._request = request
        self._first = first
        self._ask = ask
        self.rival: Attempt | None = None
        self.failure: Failure | None = None
        self._timer: Timer | None = call_later(delay, self._begin)

    def __repr__(self) -> str:
        return f"<Race [{'waiting' if self.rival is None else repr(self.rival)}]>"

    @property
    def running(self) -> bool:
        """Whether the second attempt is under way."""
        return self.rival is not None and self.rival.state is not DONE

    def end(self) -> bool:
        """Ask no second replica any more, or tell its engine to stop; return whether one was at work."""
        if self._timer is not None:
            self._timer.cancel()
        running = self.running
        if self.rival is not None:
            self.rival.release()
        return running

    def _begin(self) -> None:
        """Ask a second replica, if that can be afforded."""
        self._timer = None
        hedging = self._pool.hedging
        assert hedging is not None
        if not hedging.spend():
            return
        try:
            replica = self._pool.pick(self._request, (self._first,))
        except Unavailable:
            return
        self.rival = self._ask(replica)
