"""What a request holds of a pool, as it sees it itself."""

from __future__ import annotations

from typing import NamedTuple

from gateway.pools.pool import Pool
from gateway.pools.replica import Replica


class Holding(NamedTuple):
    """What a request holds of a pool: a place in the queue, or a slot with tokens, and attempts at replicas."""

    pool: Pool
    waits: bool
    slot: bool
    tokens: int
    replicas: tuple[Replica, ...]
