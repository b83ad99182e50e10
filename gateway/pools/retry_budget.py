"""How many requests a pool may ask of another replica: a share of its traffic, so that retries cannot become a storm.

When every replica of a pool fails, each request that is tried again makes that worse. So retries get a tenth of what
was answered within a sliding window, as in Finagle's ``RetryBudget`` and in "Handling Overload" (Beyer et al., "Site
Reliability Engineering", 2016, chapter 21), and a reserve for pools with little traffic. One replica's share of what is
in flight belongs to it, because the work of a replica that is lost is not done twice when another one does it.
"""

from __future__ import annotations

from collections import deque

WINDOW = 10.0
"""The length of the sliding window, in seconds."""

SHARE = 0.1
"""Retries for each request that was answered within the window."""

RESERVE = 10
"""Retries within the window that a pool without traffic has."""


class RetryBudget:
    """The retries of one pool. All moments are ``perf_counter`` readings in seconds."""

    def __init__(self, now: float) -> None:
        self._spent: deque[float] = deque()
        self._since = now
        self._answered = 0.0
        """How many requests had been answered at ``_since``."""

    def __repr__(self) -> str:
        return f"<RetryBudget [{len(self._spent)} spent]>"

    def allows(self, now: float, *, answered: int, in_flight_each: float) -> bool:
        """Whether one more request may be asked of another replica.

        ``answered`` counts the pool's answered requests from the beginning on, ``in_flight_each`` is the mean number of
        requests in flight at a replica.
        """
        while self._spent and self._spent[0] <= now - WINDOW:
            self._spent.popleft()
        allowed = SHARE * self._traffic(now, answered) + max(RESERVE, in_flight_each)
        return len(self._spent) + 1 <= allowed

    def spend(self, now: float) -> None:
        """Count a request that is asked of another replica."""
        self._spent.append(now)

    def _traffic(self, now: float, answered: int) -> float:
        """Tell how many requests were answered within the window; before it, they are taken to have come evenly."""
        # A replica that has left the pool takes its count with it.
        self._answered = min(self._answered, answered)
        elapsed = now - self._since
        if elapsed > WINDOW:
            self._answered += (answered - self._answered) * (1 - WINDOW / elapsed)
            self._since = now - WINDOW
        return answered - self._answered
