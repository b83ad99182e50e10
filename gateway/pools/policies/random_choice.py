"""Any replica, all of them equally likely."""

from __future__ import annotations

import random
from collections.abc import Sequence

from gateway.pools.policies.policy import Routable
from gateway.pools.policies.weights import drawn
from gateway.pools.replica import Replica


class RandomChoice:
    """Any replica, all of them equally likely: what many gateways that know nothing of each other can agree on."""

    def pick(self, candidates: Sequence[Replica], _request: Routable) -> Replica:
        """Choose at random."""
        return candidates[int(random.random() * len(candidates))]  # noqa: S311 - no secret


class WeightedRandomChoice:
    """Any replica, each as likely as its weight says."""

    def pick(self, candidates: Sequence[Replica], _request: Routable) -> Replica:
        """Choose at random."""
        return drawn(candidates)
