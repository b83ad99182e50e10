"""Finds the replica of a pool whose responses begin far later than those of its peers.

A replica is an outlier by the medians of a window: medians do not mind a few long prompts, and peers that serve such
requests at the same time say what is usual now, so that a pool which is slow as a whole has no outlier. Envoy's and
gRPC's outlier detection (gRFC A50) compare hosts of one interval with each other in this way, by their success rates;
the thresholds here are a factor and a least difference, because the spread of a few equal replicas is about zero.
A request that still waits counts too, in each window in which it has waited for longer than would be usual: of a
replica that never responds there are no others.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from statistics import median
from typing import NamedTuple

from gateway.pools.replica import Replica

WINDOW_SECONDS = 3.0
"""Replicas are compared by the requests of so many seconds."""

MIN_SAMPLES = 5
"""Of a replica with fewer requests nothing is said; they are kept for the next window."""

_KEPT_WINDOWS = 4
"""After so many windows they are forgotten."""

MIN_PEERS = 2
"""A replica is compared with at least so many others, because of two nobody knows which is the odd one."""

MIN_DIFFERENCE_SECONDS = 1.0
"""A replica is not ejected for less, however fast its peers are."""

_NEWEST = 500
"""Of the requests of a window, at most so many of each replica are looked at."""

_STALE_WINDOWS = 20
"""After so many windows without enough requests it is not known any more what is usual."""


class Outlier(NamedTuple):
    """The slowest replica of a window, its median and that of its peers, in seconds."""

    replica: Replica
    latency: float
    usual: float

    @property
    def reason(self) -> str:
        """Say for people why it is one."""
        return f"Its responses began after {self.latency:.3g} s, those of its peers after {self.usual:.3g} s (medians)."


class LatencyOutliers:
    """Compares the replicas of one pool, window by window.

    ``factor`` is how many times later than its peers' the responses of a replica have to begin.
    """

    def __init__(self, factor: float, now: float) -> None:
        self.factor = factor
        self.slow_after = inf
        """How long a response may take to begin before its request is called slow, in seconds."""
        self.window = 0
        """The number of the window that lasts: a request that waits counts in each one."""
        self._ends_at = now + WINDOW_SECONDS
        self._unknown_for = 0

    def __repr__(self) -> str:
        return f"<LatencyOutliers [slow after {self.slow_after:.3g} s]>"

    def look(self, replicas: Sequence[Replica], now: float) -> Outlier | None:
        """Find the outlier of the window that ends now, if one ends and has one; ``now`` is a ``perf_counter`` reading.

        Only one at a time, the slowest: without it the others may look different.
        """
        if now < self._ends_at:
            return None
        self._ends_at = now + WINDOW_SECONDS
        self.window += 1
        medians: dict[Replica, float] = {}
        for replica in replicas:
            latencies = replica.latencies
            few = len(latencies) < MIN_SAMPLES
            if replica.ready and not few:
                medians[replica] = median(latencies[-_NEWEST:])
            if not replica.ready or not few or self.window % _KEPT_WINDOWS == 0:
                replica.latencies = []
        if len(medians) <= MIN_PEERS:
            self._unknown_for += 1
            if self._unknown_for >= _STALE_WINDOWS:
                self.slow_after = inf
            return None
        self._unknown_for = 0
        self.slow_after = self._limit(median(medians.values()))
        slowest = max(medians, key=medians.__getitem__)
        latency = medians.pop(slowest)
        usual = median(medians.values())
        return Outlier(slowest, latency, usual) if latency > self._limit(usual) else None

    def _limit(self, usual: float) -> float:
        return max(usual * self.factor, usual + MIN_DIFFERENCE_SECONDS)
