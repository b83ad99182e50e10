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
