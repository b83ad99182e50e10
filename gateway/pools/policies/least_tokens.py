"""The replica with the fewest tokens in flight."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.pools.policies.compared import compared
from gateway.pools.policies.policy import Routable
from gateway.pools.policies.token_load import TokenLoad
from gateway.pools.policies.weights import compared_by_weight
from gateway.pools.replica import Replica


class LeastTokens:
    """The replica with the fewest tokens in flight; among equals, each in turn.

    Tokens are those of the prompts, estimated from their bytes, and those that the responses are expected to have. So a
    long prompt weighs as much as many short ones, which ``least_in_flight`` takes for the same. They are counted for
    this process alone; those of others at a shared replica are added as its engine tells them.
    """

    reads_load = True

    def __init__(self, *, weighted: bool = False) -> None:
        self._turn = 0
        self._compared = compared_by_weight if weighted else compared
        self._load = TokenLoad()
        self.assigned = self._load.assigned
        self.released = self._load.released

    def pick(self, candidates: Sequence[Replica], _request: Routable) -> Replica:
        """Choose the one with the fewest tokens for its weight, of those that are compared for one request."""
        self._turn += 1
        return min(self._compared(candidates, self._turn), key=self._load.held)
