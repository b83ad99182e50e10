"""Refuses a share of the requests while the event loop is late, and those of the lowest class first.

How late the loop is for its ticks is how long every event waits for its turn: the queueing delay of the gateway itself.
Which requests are refused follows DAGOR (Zhou et al., "Overload Control for Scaling WeChat Microservices", SoCC 2018):
the share is raised by steps while there is overload and lowered by smaller ones after it, and is taken from the classes
of the requests that came of late, the least important first.
"""

from __future__ import annotations

from collections import deque
from math import inf
from statistics import median

from gateway.core.errors import GatewayOverloaded
from gateway.core.ticker import TICK_SECONDS

_TICKS = 5
"""The median of so many ticks counts, so that one pause or two, such as of the garbage collector, shed nothing."""

_RAISED, _LOWERED = 0.05, 0.01
"""By how much of all requests the share changes at a tick, as in DAGOR."""

_MOST = 0.9
"""A tenth is always let through: a loop that is late for another reason, such as a slow machine, is no outage."""

_KEPT = 0.9
"""How much of the count of a class remains after a tick, which makes it that of about the last second."""


class LoadShedding:
    """Decides which new requests are refused; what is under way always goes on.

    The share to refuse rises while the median lag is over ``max_lag`` seconds, falls once it is under half of that, and
    stays as it is in between. 0 for ``max_lag`` refuses nothing.
    """

    __slots__ = ("_boundary", "_due", "_lags", "_of_boundary", "_recent", "max_lag", "share")

    def __init__(self, max_lag: float) -> None:
        self.max_lag = max_lag
        self.share = 0.0
        """How much of all requests is to be refused, from 0 to 1. Where it is 0, nobody needs to ask ``refuses``."""
        self._lags: deque[float] = deque(maxlen=_TICKS)
        self._recent: dict[int, float] = {}
        self._boundary = inf
        """Classes above this number are refused as a whole, and of this one itself, ``_of_boundary``."""
        self._of_boundary = 0.0
        self._due = 0.0

    def __repr__(self) -> str:
        return f"<LoadShedding [{self.share:.0%}; median lag {self._lag * 1e3:.0f} ms]>"

    def tick(self, lag: float) -> None:
        """Note by how many seconds the loop was late for a tick, and change the share as that wants it."""
        self._lags.append(lag)
        late, limit = self._lag, self.max_lag
        if limit and late > limit:
            self.share = min(_MOST, self.share + _RAISED)
        elif not limit or late < limit / 2:
            self.share = max(0.0, self.share - _LOWERED)
        if self.share:
            self._arrange()
        elif self._recent:
            self._recent.clear()
            self._boundary = inf

    def refuses(self, priority: int) -> bool:
        """Count a request of this class, a lower number being more important, and tell whether it is refused."""
        self._recent[priority] = self._recent.get(priority, 0.0) + 1.0
        if priority != self._boundary:
            return priority > self._boundary
        # Evenly, and not by chance: of a half, every second one.
        self._due += self._of_boundary
        refused = self._due >= 1.0
        if refused:
            self._due -= 1.0
        return refused

    def refusal(self) -> GatewayOverloaded:
        """Give the error for a request that is refused."""
        return GatewayOverloaded(
            "The gateway itself is overloaded, and refuses requests of the lowest classes first; try again later.",
            # When nothing is refused any more, if the overload ends now.
            retry_after=max(1.0, self.share / _LOWERED * TICK_SECONDS),
        )

    @property
    def _lag(self) -> float:
        return median(self._lags) if len(self._lags) == _TICKS else 0.0

    def _arrange(self) -> None:
        """Find the classes that make up the share, from the least important one on."""
        recent = {priority: kept for priority, count in self._recent.items() if (kept := count * _KEPT) > 0.01}
        self._recent = recent
        left = self.share * sum(recent.values())
        self._boundary, self._of_boundary = inf, 0.0
        for priority in sorted(recent, reverse=True):
            self._boundary, self._of_boundary = priority, min(1.0, left / recent[priority])
            left -= recent[priority]
            if left < 0:
                return
