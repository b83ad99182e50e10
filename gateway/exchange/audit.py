"""Compares what is counted with what is under way, every few seconds, and corrects what differs.

Each request gives back what it took, once; a mistake in that would take a slot away for ever, or let too many through.
So the books are checked against the requests themselves, which say what they hold. A difference is a mistake of
the gateway's: it is logged, counted, and corrected when it has been seen twice, since a single look may fall between
two steps.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, MutableMapping, MutableSet
from typing import NamedTuple

from gateway.exchange.exchange import Exchange
from gateway.pools.pool import Pool
from gateway.pools.replica import Replica

AUDIT_SECONDS = 5.0
"""Time between two checks at least."""

_SECONDS_PER_REQUEST = 0.005
"""Time between two checks for each request under way: one takes a few µs, so checks take less than a thousandth."""

_LOG = logging.getLogger(__name__)


class Mismatch(NamedTuple):
    """One count that differs from what is held: of what, where, the count, and what the requests hold."""

    kind: str
    name: str
    counted: int
    held: int

    def __str__(self) -> str:
        return f"{self.name} counts {self.counted} {self.kind.replace('_', ' ')} where requests hold {self.held}"


class _PoolTotals:
    """What the requests of one pool hold together."""

    __slots__ = ("in_flight", "running", "tokens", "waiting")

    def __init__(self) -> None:
        self.running = 0
        self.waiting = 0
        self.tokens = 0
        self.in_flight: dict[Replica, int] = {}


class Audit:
    """Checks the books of all pools against the requests under way, which leave ``exchanges`` at their end.

    ``mismatches`` counts the differences by their kind.
    """

    def __init__(self, exchanges: MutableSet[Exchange], mismatches: MutableMapping[str, int]) -> None:
        self._exchanges = exchanges
        self._mismatches = mismatches
        self._due = 0.0
        self._seen: set[tuple[str, str]] = set()
        """The counts that differed at the latest check."""

    def __repr__(self) -> str:
        return f"<Audit of {len(self._exchanges)} requests [{len(self._seen)} differences seen once]>"

    def tick(self, now: float, pools: Iterable[Pool]) -> None:
        """Check if it is time; ``now`` is a ``perf_counter`` reading."""
        if now >= self._due:
            self._due = now + max(AUDIT_SECONDS, len(self._exchanges) * _SECONDS_PER_REQUEST)
            self.check(pools)

    def check(self, pools: Iterable[Pool]) -> None:
        """Compare now; correct what differed the last time too."""
        totals, over = self._add_up(pools)
        found = list(_mismatches_of(totals, over))
        again = [each for each in found if (each.kind, each.name) in self._seen]
        self._seen = {(each.kind, each.name) for each in found}
        for each in again:
            self._mismatches[each.kind] += 1
            _LOG.error("%s; corrected. Please report this mistake.", each)
        if again:
            self._correct(totals, over)

    def _add_up(self, pools: Iterable[Pool]) -> tuple[dict[Pool, _PoolTotals], list[Exchange]]:
        """Add up what all requests hold, by pool; and find those that are over and were not forgotten."""
        totals = {pool: _PoolTotals() for pool in pools}
        over: list[Exchange] = []
        for exchange in self._exchanges:
            holding = exchange.holding
            if holding is None:
                over.append(exchange)
                continue
            pool, waits, slot, tokens, replicas = holding
            its = totals.get(pool)
            if its is None:
                its = totals[pool] = _PoolTotals()
            if waits:
                its.waiting += 1
            if slot:
                its.running += 1
                its.tokens += tokens
            for replica in replicas:
                its.in_flight[replica] = its.in_flight.get(replica, 0) + 1
        return totals, over

    def _correct(self, totals: dict[Pool, _PoolTotals], over: Iterable[Exchange]) -> None:
        for exchange in over:
            self._exchanges.discard(exchange)
        for pool, held in totals.items():
            here = [(each, each.holding) for each in self._exchanges]
            holders = [(each, holding) for each, holding in here if holding is not None and holding.pool is pool]
            pool.tokens_in_flight = held.tokens
            pool.admission.correct(
                {each for each, holding in holders if holding.slot},
                {each for each, holding in holders if holding.waits},
            )
            for replica in pool.replicas:
                replica.load.correct(held.in_flight.get(replica, 0))


def _mismatches_of(totals: dict[Pool, _PoolTotals], over: list[Exchange]) -> Iterator[Mismatch]:
    if over:
        yield Mismatch("requests", "The dispatcher", len(over), 0)
    for pool, held in totals.items():
        counts = pool.admission.counted_here()
        running, waiting = held.running, held.waiting
        compared = [
            ("slots", counts.running, running),
            ("shared_slots", counts.slots, None if counts.slots is None else running),
            ("slot_tokens", counts.slot_tokens, counts.charged),
            ("queue_places", counts.queued, waiting),
            ("shared_queue_places", counts.shown, None if counts.shown is None else waiting),
            ("tokens_in_flight", pool.tokens_in_flight, held.tokens),
        ]
        for kind, counted, expected in compared:
            if counted is not None and expected is not None and counted != expected:
                yield Mismatch(kind, f"Pool {pool.name}", counted, expected)
        for replica in pool.replicas:
            expected = held.in_flight.get(replica, 0)
            if replica.load.here != expected:
                yield Mismatch("in_flight", f"Replica {replica.name}", replica.load.here, expected)
