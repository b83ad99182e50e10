"""Replicas of different weights: what a policy does where they are not all alike."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from gateway.pools.policies.compared import compared
from gateway.pools.replica import Replica


def are_weighted(replicas: Iterable[Replica]) -> bool:
    """Whether replicas are to get different shares; those that get nothing do not count."""
    return len({replica.weight for replica in replicas} - {0.0}) > 1


def drawn(candidates: Sequence[Replica]) -> Replica:
    """Draw a replica at random, each as likely as its weight says."""
    return random.choices(candidates, [replica.weight for replica in candidates])[0]  # noqa: S311 - no secret


def compared_by_weight(candidates: Sequence[Replica], turn: int) -> Sequence[Replica]:
    """Give the replicas to compare, the first of them drawn by weight: it is taken where all are equally loaded.

    So an idle pool spreads its requests by weight, as Envoy's weighted least request does, instead of sending all of
    them to the heaviest.
    """
    return (drawn(candidates), *compared(candidates, turn))
