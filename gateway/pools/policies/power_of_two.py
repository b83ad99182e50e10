"""The less loaded of two replicas that are drawn at random."""

from __future__ import annotations

import random
from collections.abc import Sequence

from gateway.pools.policies.policy import Routable
from gateway.pools.policies.weights import drawn
from gateway.pools.replica import Replica


class PowerOfTwo:
    """The less loaded of two replicas that are drawn at random.

    Where several gateways share replicas, each sees its own requests only. They would all find the same replica the
    least loaded and send it a burst together; drawn at random, they disagree (Mitzenmacher, "The Power of Two Choices
    in Randomized Load Balancing", 2001).
    """

    def pick(self, candidates: Sequence[Replica], _request: Routable) -> Replica:
        """Draw two different replicas and choose the less loaded."""
        size = len(candidates)
        first = int(random.random() * size)  # noqa: S311 - no secret
        second = (first + 1 + int(random.random() * (size - 1))) % size  # noqa: S311 - no secret
        one, other = candidates[first], candidates[second]
        return other if other.load.in_flight < one.load.in_flight else one


class WeightedPowerOfTwo:
    """The less loaded, for its weight, of two replicas that are drawn as likely as their weights say."""

    def pick(self, candidates: Sequence[Replica], _request: Routable) -> Replica:
        """Draw two replicas, which may be the same, and choose the less loaded."""
        one, other = drawn(candidates), drawn(candidates)
        return other if other.load.in_flight * one.weight < one.load.in_flight * other.weight else one
