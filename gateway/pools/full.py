"""Which replicas of a pool have said lately that they are full, and are passed over for a moment.

Otherwise a replica that refuses at once would have the fewest requests in flight, and get the most.
"""

from __future__ import annotations

from collections.abc import Container

from gateway.pools.replica import Replica

_SECONDS = 1.0
"""How long a replica is passed over that does not say for how long."""

_MOST_SECONDS = 10.0
"""The longest that it is, whatever it says: a queue moves, and clients are told the whole time."""


class FullReplicas:
    """The replicas of a pool that are full, by their own words. Moments are ``perf_counter`` readings."""

    __slots__ = ("until",)

    def __init__(self) -> None:
        self.until: dict[Replica, float] = {}
        """Until when each is passed over. Read by itself, it saves every request of a pool with room a call."""

    def __repr__(self) -> str:
        return f"<FullReplicas {[replica.name for replica in self.until]}>"

    def add(self, replica: Replica, now: float, retry_after: float | None) -> None:
        """Pass over a replica; ``retry_after`` is for how long by its own words, in seconds."""
        self.until[replica] = now + (_SECONDS if retry_after is None else min(retry_after, _MOST_SECONDS))

    def retain(self, replicas: Container[Replica]) -> None:
        """Forget all others."""
        self.until = {replica: until for replica, until in self.until.items() if replica in replicas}

    def has_room(self, replica: Replica, now: float) -> bool:
        """Whether a replica has not said lately that it is full."""
        return self.until.get(replica, 0.0) <= now

    def left_out(self, ready: list[Replica], now: float) -> list[Replica]:
        """Give those of the ready replicas that are not full, or all of them where all are."""
        self.until = {replica: until for replica, until in self.until.items() if until > now}
        return [replica for replica in ready if replica not in self.until] or ready
