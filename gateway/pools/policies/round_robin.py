"""Each replica in turn."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.pools.policies.policy import Routable
from gateway.pools.replica import Replica


class RoundRobin:
    """Each replica in turn, however much it has to do."""

    def __init__(self) -> None:
        self._turn = 0

    def pick(self, candidates: Sequence[Replica], _request: Routable) -> Replica:
        """Choose the next in order."""
        self._turn += 1
        return candidates[self._turn % len(candidates)]


class WeightedRoundRobin:
    """Each replica in turn, as often as its weight says, and as evenly in time as that can be.

    That is nginx's smooth weighted round robin: each gets its weight as credit, and the one with the most credit is
    chosen and pays the sum of all weights. With weights 5, 1, 1 they come as a a b a c a a.
    """

    def __init__(self) -> None:
        self._credit: dict[Replica, float] = {}

    def replicas_changed(self, replicas: Sequence[Replica]) -> None:
        """Forget the replicas that are gone."""
        self._credit = {replica: self._credit.get(replica, 0.0) for replica in replicas}

    def pick(self, candidates: Sequence[Replica], _request: Routable) -> Replica:
        """Choose the one that has waited most, by its weight."""
        credit = self._credit
        total = 0.0
        for replica in candidates:
            credit[replica] = credit.get(replica, 0.0) + replica.weight
            total += replica.weight
        best = max(candidates, key=credit.__getitem__)
        credit[best] -= total
        return best
