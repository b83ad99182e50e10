"""The replica with the fewest requests in flight."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.pools.policies.policy import Routable
from gateway.pools.policies.weights import compared_by_weight
from gateway.pools.replica import Replica

_COMPARED = 16
"""How many replicas are compared for one request."""


class LeastInFlight:
    """The replica with the fewest requests in flight; among equals, each in turn.

    Without the turn, all requests of an idle pool would go to its first replica, whose caches alone would be warm. Of a
    large pool only a few replicas are compared, evenly spread over it and others each time: the best of several is
    nearly as good as the best of all, at a cost that does not grow (Mitzenmacher, "The Power of Two Choices", 2001).
    """

    def __init__(self) -> None:
        self._turn = 0

    def pick(self, candidates: Sequence[Replica], _request: Routable) -> Replica:
        """Choose the least loaded, looking first at the one whose turn it is."""
        size = len(candidates)
        start = self._turn = (self._turn + 1) % size
        best = candidates[start]
        least = best.load.in_flight
        step = size // _COMPARED or 1
        for offset in range(step, min(size, step * _COMPARED), step):
            if least == 0:
                break
            replica = candidates[(start + offset) % size]
            in_flight = replica.load.in_flight
            if in_flight < least:
                best, least = replica, in_flight
        return best


class WeightedLeastInFlight:
    """The replica with the fewest requests in flight for its weight; among equals, drawn by weight."""

    def __init__(self) -> None:
        self._turn = 0

    def pick(self, candidates: Sequence[Replica], _request: Routable) -> Replica:
        """Choose the least loaded, of those that are compared for one request."""
        self._turn += 1
        return min(compared_by_weight(candidates, self._turn), key=_in_flight_for_weight)


def _in_flight_for_weight(replica: Replica) -> float:
    return replica.load.in_flight / replica.weight
