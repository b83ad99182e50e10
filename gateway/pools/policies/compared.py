"""Which of many replicas are compared for one request."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.pools.replica import Replica

MOST_COMPARED = 16
"""How many replicas are compared for one request."""


def compared(candidates: Sequence[Replica], turn: int) -> Sequence[Replica]:
    """Give the replicas to compare, the one whose ``turn`` it is first, so that among equals each comes first in turn.

    Of a large pool these are a few, evenly spread over it and others each time: the best of several is nearly as good
    as the best of all, at a cost that does not grow (Mitzenmacher, "The Power of Two Choices", 2001).
    """
    size = len(candidates)
    start = turn % size
    if size <= MOST_COMPARED:
        return [*candidates[start:], *candidates[:start]]
    return [candidates[(start + number * size // MOST_COMPARED) % size] for number in range(MOST_COMPARED)]
