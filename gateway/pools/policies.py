"""Which replica: one small class per policy, and the table that a configuration chooses from by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from gateway.config.types import PolicyName
from gateway.pools.replica import Replica

_COMPARED = 16
"""How many replicas are looked at for one request."""


class Policy(Protocol):
    """Picks one of the ready replicas. It decides at once, and keeps no count that it would have to give back."""

    def pick(self, ready: Sequence[Replica]) -> Replica:
        """Choose from several ready replicas; of one there is no choice, and no policy is asked."""


class RoundRobin:
    """Each in turn, whatever it is doing."""

    def __init__(self) -> None:
        self._turn = 0

    def pick(self, ready: Sequence[Replica]) -> Replica:
        """Choose the next in order."""
        self._turn += 1
        return ready[self._turn % len(ready)]


class LeastInFlight:
    """The one with the fewest requests in flight from this gateway; among equals, each in turn.

    Without the turn, all requests of an idle pool would go to its first replica, whose caches alone would be warm. Of a
    large pool only a few replicas are compared, evenly spread over it and others each time: the best of several is
    nearly as good as the best of all, at a cost that does not grow (Mitzenmacher, "The Power of Two Choices", 2001).
    """

    def __init__(self) -> None:
        self._turn = 0

    def pick(self, ready: Sequence[Replica]) -> Replica:
        """Choose the least loaded, looking first at the one whose turn it is."""
        size = len(ready)
        start = self._turn = (self._turn + 1) % size
        best = ready[start]
        step = size // _COMPARED or 1
        for offset in range(step, min(size, step * _COMPARED), step):
            if best.in_flight == 0:
                break
            replica = ready[(start + offset) % size]
            if replica.in_flight < best.in_flight:
                best = replica
        return best


POLICIES: Mapping[PolicyName, Callable[[], Policy]] = {"least_in_flight": LeastInFlight, "round_robin": RoundRobin}
