"""The order in which requests that wait for a slot get one: by class, fairly among tenants, first come first served."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from heapq import heapify, heappop, heappush
from typing import NamedTuple, Protocol

from gateway.core.errors import Unavailable
from gateway.pools.virtual_time import VirtualTime

CLASS_STEP = 65_536
"""The tokens that each tenant of a class gets before a request of the next lower class is served."""

LOWEST_CLASS = 100
"""Classes go from ``-LOWEST_CLASS``, which is served first, to ``LOWEST_CLASS``."""

_VOID = 64
"""How many void entries the heap may have, beside one for each flow."""


class Ticket(NamedTuple):
    """What a request that may have to wait says of itself."""

    tenant: str = ""
    """Who shares with the other tenants of its class."""
    priority: int = 0
    """Its class; lower ones are served first, as in vLLM."""
    tokens: int = 1
    """How much it asks for: the tokens of its prompt, as estimated, and those that its response may have."""
    within: float = float("inf")
    """How long it can wait, in seconds."""


class Waiter(Protocol):
    """A request that wants a slot, and waits in a queue where none is free."""

    @property
    def ticket(self) -> Ticket:
        """What it says of itself, when it is asked."""

    def granted(self) -> None:
        """Go on: a slot is taken for it."""

    def displaced(self, error: Unavailable) -> None:
        """End with ``error``: its place in a full queue was given to a request of another tenant."""


class _Flow:
    """The waiting requests of one tenant in one class, in the order of their arrival."""

    __slots__ = ("entry", "offset", "start", "tenant", "waiting")

    def __init__(self, offset: int, tenant: str) -> None:
        self.tenant = tenant
        self.offset = offset
        """How far its class stands behind class 0, in tokens."""
        self.waiting: OrderedDict[Waiter, tuple[Ticket, int]] = OrderedDict()
        self.start = 0
        """The start tag of the first request."""
        self.entry: _Entry | None = None
        """Where the first request is in the heap; other entries of this flow there are void."""


class _Entry(NamedTuple):
    """A flow's first request in the heap: by rank, then by arrival in nanoseconds."""

    rank: int
    since: int
    number: int
    flow: _Flow


class FairQueue:
    """Requests of all classes and tenants, the one with the lowest rank first.

    The rank of a tenant's first request is its start tag (``VirtualTime``), and ``CLASS_STEP`` more for each class that
    it is lower. So tenants of a class get equal numbers of tokens, whatever sizes their requests have: two that both
    wait differ by the tokens of one request of each at most. A lower class gets what the higher ones leave, and one
    request of each tenant for every ``CLASS_STEP`` tokens that a tenant of a higher class gets: none starves. One
    tenant in one class is served first come, first served.

    Ranks are comparable over processes that share their ``VirtualTime``. Others may serve the same tenant meanwhile:
    ranks only rise.
    """

    __slots__ = ("_flows", "_heap", "_number", "_places", "_time")

    def __init__(self, time: VirtualTime | None = None) -> None:
        self._time = VirtualTime() if time is None else time
        self._flows: dict[tuple[int, str], _Flow] = {}
        self._places: dict[Waiter, tuple[int, str]] = {}
        self._heap: list[_Entry] = []
        self._number = 0

    def __repr__(self) -> str:
        return f"<FairQueue [{self.length} waiting, {len(self._flows)} tenants]>"

    @property
    def length(self) -> int:
        """How many requests wait."""
        return len(self._places)

    @property
    def waiters(self) -> Collection[Waiter]:
        """Those that wait, in any order."""
        return self._places.keys()

    def set_time(self, time: VirtualTime) -> None:
        """Order by another virtual time from now on; who waits keeps the place among those who wait here."""
        waiting = [
            (waiter, ticket, since) for flow in self._flows.values() for waiter, (ticket, since) in flow.waiting.items()
        ]
        self._time = time
        self._flows, self._places, self._heap = {}, {}, []
        for waiter, ticket, since in sorted(waiting, key=lambda each: each[2]):
            self._push(waiter, ticket, since)

    def push(self, waiter: Waiter, ticket: Ticket, now: float) -> None:
        """Let a request wait from ``now`` on, a ``perf_counter`` reading."""
        self._push(waiter, ticket, int(now * 1e9))

    def first(self) -> Ticket:
        """Give the ticket of the request with the lowest rank; the queue is not empty."""
        ticket, _ = next(iter(self._first().flow.waiting.values()))
        return ticket

    def pop(self) -> Waiter:
        """Take out the request with the lowest rank, and charge its tenant."""
        flow = self._first().flow
        waiter, (ticket, _) = flow.waiting.popitem(last=False)
        del self._places[waiter]
        self._time.serve(flow.tenant, flow.start, max(1, ticket.tokens))
        if flow.waiting:
            self._enter(flow, self._time.start(flow.tenant))
        else:
            self._forget(flow)
        return waiter

    def discard(self, waiter: Waiter) -> bool:
        """Take out a request that waits no longer, at no charge; return whether it was there."""
        place = self._places.pop(waiter, None)
        if place is None:
            return False
        flow = self._flows[place]
        was_first = next(iter(flow.waiting)) is waiter
        del flow.waiting[waiter]
        if not flow.waiting:
            self._forget(flow)
        elif was_first:
            self._enter(flow, flow.start)
        return True

    def displaceable(self, ticket: Ticket) -> Waiter | None:
        """Give the request that leaves a full queue for one that comes now; ``None`` if the newcomer has to go.

        It is the newest one of the tenant with the most requests in the lowest class: of a class below the newcomer's,
        or of a tenant of its class that has more waiting even then. So the longest queue is dropped from, as in
        stochastic fairness queueing (McKenney, 1990). The only request of a tenant is always kept; one that spreads its
        requests over classes keeps no more for it.
        """
        waiting: dict[str, int] = {}
        for flow in self._flows.values():
            waiting[flow.tenant] = waiting.get(flow.tenant, 0) + len(flow.waiting)
        several = (flow for flow in self._flows.values() if waiting[flow.tenant] > 1)
        longest = max(several, key=lambda flow: (flow.offset, waiting[flow.tenant]), default=None)
        offset = _offset(ticket.priority)
        if longest is None or longest.offset < offset:
            return None
        if longest.offset == offset and waiting[longest.tenant] <= waiting.get(ticket.tenant, 0) + 1:
            return None
        return next(reversed(longest.waiting))

    def by_class(self) -> dict[int, int]:
        """Tell how many wait in each class that has any; may be called from another thread."""
        waiting: dict[int, int] = {}
        for flow in list(self._flows.values()):
            priority = flow.offset // CLASS_STEP
            waiting[priority] = waiting.get(priority, 0) + len(flow.waiting)
        return dict(sorted(waiting.items()))

    def head(self) -> tuple[int, int]:
        """Give the lowest rank, and when its request came, in nanoseconds; zeros for an empty queue."""
        if not self._places:
            return 0, 0
        entry = self._first()
        return entry.rank, entry.since

    def ahead_of(self, ticket: Ticket) -> int:
        """Estimate how many of those that wait are served before a request that comes now: round by round per tenant.

        Those of lower classes are not counted.
        """
        offset = _offset(ticket.priority)
        own = self._flows.get((offset, ticket.tenant))
        before = 0 if own is None else len(own.waiting)
        number = before
        for flow in self._flows.values():
            if flow.offset < offset:
                number += len(flow.waiting)
            elif flow.offset == offset and flow is not own:
                number += min(len(flow.waiting), before + 1)
        return number

    # inside

    def _push(self, waiter: Waiter, ticket: Ticket, since: int) -> None:
        place = _offset(ticket.priority), ticket.tenant
        flow = self._flows.get(place)
        if flow is None:
            flow = self._flows[place] = _Flow(*place)
        self._places[waiter] = place
        flow.waiting[waiter] = ticket, since
        if len(flow.waiting) == 1:
            self._enter(flow, self._time.start(flow.tenant))

    def _forget(self, flow: _Flow) -> None:
        """Leave out a flow whose last request is gone."""
        flow.entry = None
        del self._flows[flow.offset, flow.tenant]

    def _enter(self, flow: _Flow, start: int) -> None:
        """Put a flow's first request into the heap; the entry that it may have there becomes void."""
        if len(self._heap) > 2 * len(self._flows) + _VOID:
            self._heap = [entry for entry in self._heap if entry is entry.flow.entry]
            heapify(self._heap)
        flow.start = start
        _, since = next(iter(flow.waiting.values()))
        self._number += 1
        flow.entry = _Entry(start + flow.offset, since, self._number, flow)
        heappush(self._heap, flow.entry)

    def _first(self) -> _Entry:
        """Give the entry with the lowest rank, after what was served meanwhile; the queue is not empty."""
        heap = self._heap
        while True:
            entry = heap[0]
            flow = entry.flow
            if entry is not flow.entry:
                heappop(heap)
            elif self._time.charged(flow.tenant) > flow.start:
                heappop(heap)
                self._enter(flow, self._time.start(flow.tenant))
                heap = self._heap
            else:
                return entry


def _offset(priority: int) -> int:
    """Give how many tokens a class stands behind class 0."""
    return CLASS_STEP * max(-LOWEST_CLASS, min(priority, LOWEST_CLASS))
