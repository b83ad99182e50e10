"""Hedged requests: where a response is late, a second replica is asked too, and the first response wins.

For calls that change nothing and take milliseconds (embeddings, classification, scores) one slow replica is what most
of the slowest answers have in common. Asking another one after the 95th percentile costs at most a twentieth more work
(Dean, Barroso: "The Tail at Scale", CACM 2013).
"""

from __future__ import annotations

from collections import deque

_SHARE = 0.05
"""Of so many requests at most a second replica is asked."""

_SAVED = 10.0
"""Hedges that a quiet time can save up for a worse one."""

_WINDOW = 1000
"""How many of the latest answers the percentile is taken from."""

_FIRST = 20
"""So many responses are needed before a percentile is taken."""

_EVERY = 50
"""So many responses come before the percentile is taken anew."""


class HedgeBudget:
    """When a second replica is asked, for one pool: after which delay, and whether the budget of hedges allows it."""

    def __init__(self) -> None:
        self._latest: deque[float] = deque(maxlen=_WINDOW)
        self._until_next = _FIRST
        self._credit = 0.0
        self.delay: float | None = None
        """Seconds after which a response is late; ``None`` while too few have come to know."""

    def __repr__(self) -> str:
        delay = "not known yet" if self.delay is None else f"after {self.delay * 1000:.1f} ms"
        return f"<HedgeBudget [{delay}; {self._credit:.2f} saved]>"

    def asked(self) -> float | None:
        """Count a request, and give the delay after which it may be hedged."""
        self._credit = min(_SAVED, self._credit + _SHARE)
        return self.delay

    def answered(self, seconds: float) -> None:
        """Record how long a response took, from the first attempt on."""
        self._latest.append(seconds)
        self._until_next -= 1
        if self._until_next <= 0:
            self._until_next = _EVERY
            ordered = sorted(self._latest)
            self.delay = ordered[int(len(ordered) * (1 - _SHARE))]

    def spend(self) -> bool:
        """Take the right to hedge one request, if there is any left."""
        if self._credit < 1:
            return False
        self._credit -= 1
        return True
