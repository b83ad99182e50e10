"""The requests of one session go to one replica, whose caches know it, as long as that is not overloaded."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from operator import attrgetter, itemgetter

from gateway.pools.policies.least_in_flight import LeastInFlight
from gateway.pools.policies.policy import Routable
from gateway.pools.policies.weights import are_weighted
from gateway.pools.replica import Replica

_POINTS = 64
"""Points that each replica has on the ring. More make its share of the sessions more even: 64 are within an eighth of
it, mostly, which the bound on the load evens out."""

_HASH = itemgetter(0)
"""What the points of the ring are sorted by."""

_WEIGHT = attrgetter("weight")

_BOUND = 1.25
"""No replica gets more than this many times its fair share of the requests in flight."""


class Session:
    """Consistent hashing with bounded loads: the requests of one session go to one replica, if that is not overloaded.

    Replicas have points on a ring of hashes, and a session belongs to the first replica at or behind its own hash. So a
    replica that comes or goes moves only its own share of the sessions. A replica that has ``_BOUND`` times its fair
    share of requests in flight is passed over, which takes little from the others and keeps one busy session from
    overloading its replica (Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2016). A request
    without a session goes where the fewest are in flight.

    The hash is that of a replica's address, so that all processes and all gateways with the same replicas agree. A
    replica has points, and a share of what is in flight, by its weight. What is in flight is counted for this process
    alone: a bound that each process keeps is kept by all of them together.
    """

    def __init__(self, header: str) -> None:
        self._header = header.lower().encode()
        self._without_session = LeastInFlight()
        self._replicas: set[Replica] = set()
        self._ring: list[tuple[int, Replica]] = []
        self._hashes: list[int] = []
        self._in_flight: dict[Replica, int] = {}
        self._total = 0
        self._heaviest: float | None = None
        """The highest weight; ``None`` where all are equal."""
        self._weights: dict[Replica, float] = {}
        """The weights that the ring was made for, other than 1."""

    def replicas_changed(self, replicas: Sequence[Replica]) -> None:
        """Put the points of these replicas on the ring."""
        before, self._replicas = self._replicas, set(replicas)
        was_even, self._heaviest = self._heaviest is None, _heaviest(replicas)
        if self._heaviest is None and was_even:
            come, gone = self._replicas - before, before - self._replicas
            ring = [point for point in self._ring if point[1] not in gone] if gone else self._ring
        else:
            come, ring = self._replicas, []
        ring += [(at, replica) for replica in come for at in _points(replica, self._heaviest)]
        # Sorting what is sorted but for its end takes little.
        ring.sort(key=_HASH)
        self._ring = ring
        self._hashes = list(map(_HASH, ring))
        self._weights = {replica: replica.weight for replica in replicas if replica.weight != 1.0}

    def state_changed(self, replica: Replica) -> None:
        """Put the points on the ring anew if the replica's weight is another."""
        if replica.weight != self._weights.get(replica, 1.0):
            self.replicas_changed(tuple(self._replicas))

    def assigned(self, replica: Replica, _request: Routable) -> None:
        """Count a request at its replica."""
        self._in_flight[replica] = self._in_flight.get(replica, 0) + 1
        self._total += 1

    def released(self, replica: Replica, _request: Routable) -> None:
        """Count a request out."""
        self._total -= 1
        left = self._in_flight[replica] - 1
        if left:
            self._in_flight[replica] = left
        else:
            del self._in_flight[replica]

    def pick(self, candidates: Sequence[Replica], request: Routable) -> Replica:
        """Choose the session's replica, or the next on the ring that can be asked and is not overloaded."""
        session = request.session_key(self._header)
        if not session:
            return self._without_session.pick(candidates, request)
        # A load below this stays within ceil(bound * requests / replicas), this request among them.
        most = _BOUND * (self._total + 1) / sum(map(_WEIGHT, candidates))
        ring, in_flight = self._ring, self._in_flight
        start = bisect_left(self._hashes, _hash(session))
        for at in range(start - len(ring), start):
            replica = ring[at][1]
            if in_flight.get(replica, 0) < most * replica.weight and replica in candidates:
                return replica
        raise AssertionError("not all candidates can have more than their share")


def _heaviest(replicas: Sequence[Replica]) -> float | None:
    return max(map(_WEIGHT, replicas)) if are_weighted(replicas) else None


def _points(replica: Replica, heaviest: float | None) -> Iterator[int]:
    """Give the points of a replica on the ring: fewer for one that is to get less than the heaviest."""
    address = replica.address.url.encode()
    number = _POINTS if heaviest is None else max(1, round(_POINTS * replica.weight / heaviest))
    return (_hash(b"%d %b" % (each, address)) for each in range(number))


def _hash(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")
