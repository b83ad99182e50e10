"""Decides which replicas of one pool are ejected because of what requests have found of them.

A replica is ejected only if the others can do without it, and all are taken in again where no other one is left: what
requests find is no proof, and a replica that may fail is better than none.
"""

from __future__ import annotations

import logging
from math import inf
from time import perf_counter

from gateway.pools.ejection import Finding, may_eject
from gateway.pools.outliers import LatencyOutliers
from gateway.pools.replica import Replica, ReplicaState

_LOG = logging.getLogger(__name__)

ON_PROBATION = (ReplicaState.EJECTED, ReplicaState.HALF_OPEN)
"""The states of a replica that requests have found failing, and of which none has shown yet that it is well again."""


class Ejections:
    """The ejections of one pool: the ``Overseer`` of its replicas, unless their parent's is."""

    __slots__ = ("_outliers", "base", "replicas", "slow_after", "window")

    def __init__(self) -> None:
        self.replicas: tuple[Replica, ...] = ()
        """Those of the pool, which keeps this up to date."""
        self.base = 5.0
        """How long a replica is ejected for the first time, in seconds."""
        self.slow_after = inf
        """How long the response to a request may take to begin before it is called slow, in seconds."""
        self.window = 0
        """The number of the window in which latencies are compared."""
        self._outliers: LatencyOutliers | None = None

    def __repr__(self) -> str:
        ejected = sum(each.state in ON_PROBATION for each in self.replicas)
        return f"<Ejections [{ejected} of {len(self.replicas)} replicas]>"

    def configure(self, base: float, outlier_factor: float) -> None:
        """Change for how long replicas are ejected at first, and how much later than its peers' a slow one responds.

        With a factor of 0 none is ejected for being slow.
        """
        self.base = base
        if not outlier_factor:
            self._outliers, self.slow_after = None, inf
        elif self._outliers is None:
            self._outliers = LatencyOutliers(outlier_factor, perf_counter())
        else:
            self._outliers.factor = outlier_factor

    def suspect(self, replica: str, cause: Finding, reason: str) -> None:
        """Eject a replica that requests have found failing, if the others can do without it; have it probed anyway.

        An engine that says itself that it is dead is believed until a probe succeeds, also where it is the only one.
        """
        for each in self.replicas:
            if each.name == replica:
                if cause == "dead":
                    if each.ready or each.state in ON_PROBATION:
                        each.set_state(ReplicaState.FAILING, reason)
                elif each.state is ReplicaState.HALF_OPEN or (each.ready and self._can_spare(each)):
                    seconds = each.eject(cause, reason, self.base)
                    _LOG.warning("%s is ejected for %.3g s (%s): %s", replica, seconds, cause, reason)
                each.expect_the_worst()
                if each.on_suspicion is not None:
                    each.on_suspicion()

    def readmit(self, replica: str) -> None:
        """Take a replica in again that was ejected and has answered the request with which it was tried."""
        for each in self.replicas:
            if each.name == replica and each.state is ReplicaState.HALF_OPEN:
                each.set_state(ReplicaState.READY)

    def readmit_all(self) -> None:
        """Take all in again: where no replica is left, those that only requests have found failing are better."""
        for replica in self.replicas:
            if replica.state in ON_PROBATION:
                replica.set_state(ReplicaState.READY)

    def judge_latencies(self, now: float) -> None:
        """Suspect a replica that is far slower than its peers; ``now`` is a ``perf_counter`` reading."""
        outliers = self._outliers
        if outliers is None:
            return
        outlier = outliers.look(self.replicas, now)
        self.slow_after, self.window = outliers.slow_after, outliers.window
        if outlier is not None:
            outlier.replica.suspect("latency", outlier.reason)

    def _can_spare(self, replica: Replica) -> bool:
        ejected = sum(each.state in ON_PROBATION for each in self.replicas)
        others = sum(each is not replica and each.ready and bool(each.weight) for each in self.replicas)
        return may_eject(ejected=ejected, others_ready=others, replicas=len(self.replicas))
