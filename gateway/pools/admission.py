"""Room now, or a place in the queue: how many requests of one pool may be under way, and with how many tokens.

A slot is held from admission to the end of the response. Requests beyond the limits wait in a queue, and so do all
while the gate is closed because no replica is ready. A request that cannot be served in time is refused at once, with
the time after which a slot is likely, estimated from how fast slots became free. So is one that finds the queue full,
unless another tenant has filled it: then the newest request of that tenant makes room.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from time import perf_counter
from typing import NamedTuple

from gateway.core.errors import DeadlineUnreachable, QueueFull, QueueTimeout
from gateway.pools.queue import FairQueue, Ticket, Waiter
from gateway.pools.slots import ANY_NUMBER, NO_LIMIT, LocalSlots, NewSlots, Slots

_CLOSED = 1 << 62
"""The rank that a process shows whose gate is closed: others do not wait for its requests."""


class AdmissionCounts(NamedTuple):
    """What an admission has counted of this process's requests; what it does not count is ``None``.

    ``charged`` are the tokens that are known request by request, whose sum ``slot_tokens`` should be.
    """

    running: int
    queued: int
    slots: int | None
    slot_tokens: int | None
    charged: int
    shown: int | None


class Admission:
    """Lets requests of one pool run while there are slots, and queues the others.

    There are ``limit`` slots for ``max_tokens`` tokens, neither counted where it is ``None``: of this process alone, or
    such as ``new_slots`` makes that several processes share. Then each process queues its own requests, and a free slot
    goes to the one with the lowest rank wherever it waits: its process is woken and takes the slot itself.

    A slot is given back without the lock. A process that begins to wait just then might miss it, and the process that
    gives it back might miss who waits; ``tick`` finds such a slot.
    """

    __slots__ = (
        "_charged",
        "_limit",
        "_max_tokens",
        "_new_slots",
        "_queue",
        "_slots",
        "_was_free",
        "max_queue",
        "on_wait",
        "open",
        "running",
    )

    def __init__(
        self, limit: int | None, max_queue: int, *, max_tokens: int | None = None, new_slots: NewSlots = LocalSlots
    ) -> None:
        self._new_slots = new_slots
        self._slots: Slots | None = None
        self._queue = FairQueue()
        self._charged: dict[Waiter, int] = {}
        """The tokens of those that run, where tokens are limited."""
        self._limit = limit
        self._max_tokens = max_tokens
        self._was_free = False
        self.max_queue = max_queue
        self.running = 0
        """How many requests this process has running."""
        self.open = True
        """Whether requests are let through; if not, all wait."""
        self.on_wait: Callable[[], None] | None = None
        """Called when a request begins to wait here: whoever can do without its slots may give some back."""
        self._arrange()

    def __repr__(self) -> str:
        gate = "" if self.open else "; closed"
        slots = self._slots
        if slots is None or self._limit is None:
            return f"<Admission [{self.running} running, {self.waiting} waiting; no limit{gate}]>"
        return f"<Admission [{slots.running} running, {slots.waiting} waiting; limit {slots.limit}{gate}]>"

    @property
    def limit(self) -> int | None:
        """How many requests may run at once; ``None`` for as many as come."""
        return self._limit

    @property
    def waiting(self) -> int:
        """How many requests wait for a slot, those of other processes too that share the slots."""
        return 0 if self._slots is None else self._slots.waiting

    @property
    def free(self) -> int | None:
        """How many slots are not taken; ``None`` where their number is not limited."""
        slots = self._slots
        if slots is None or self._limit is None:
            return None
        return max(0, slots.limit - slots.running)

    def waiting_by_class(self) -> dict[int, int]:
        """Tell how many requests of this process wait in each class that has any."""
        return self._queue.by_class()

    def set_limits(self, limit: int | None, max_queue: int, max_tokens: int | None = None) -> None:
        """Change how many requests may run and wait, and how many tokens those that run may have.

        Requests that run already are never ended, and those that wait get what has become free.
        """
        self.max_queue = max_queue
        self._limit, self._max_tokens = limit, max_tokens
        self._arrange()

    def set_open(self, *, is_open: bool) -> None:
        """Let requests through from now on, or let all wait, those too that would find a slot."""
        if is_open is self.open:
            return
        self.open = is_open
        if is_open and self._slots is not None:
            self._slots.measure_anew()
        self._arrange()

    def oldest_wait(self, now: float) -> float:
        """How long the next request of this process has waited, in seconds; 0 for an empty queue."""
        return now - self._queue.head()[1] / 1e9 if self._queue.length else 0.0

    def admit(self, waiter: Waiter) -> bool:
        """Take a slot now, or queue ``waiter``, whose ``granted`` is called when it gets one (``False``).

        That may be before this returns. Raises ``QueueFull``, or ``DeadlineUnreachable`` where the wait is likely to be
        longer than the request can wait, both with a ``retry_after``. ``QueueFull`` may end another request instead.
        """
        slots = self._slots
        if slots is None or (self.open and slots.try_take()):
            self.running += 1
            return True
        ticket = waiter.ticket
        with slots.lock:
            waiting = slots.waiting
            if self.open and not waiting and slots.has_room(ticket.tokens):
                self._take(slots, waiter, ticket)
                return True
            wait = self._wait_of(slots, ticket)
            full = waiting >= self.max_queue
            displaced = self._queue.displaceable(ticket) if full else None
            accepted = wait <= ticket.within and (displaced is not None or not full)
            if accepted:
                if displaced is not None:
                    self._queue.discard(displaced)
                self._queue.push(waiter, ticket, perf_counter())
                self._show(slots)
        if not accepted:
            raise self._refusal(slots, waiting, wait, ticket.within)
        if displaced is not None:
            displaced.displaced(self._full(slots, waiting))
        # A slot may have become free, or an announcement may have been withdrawn, while this request joined the queue.
        self.serve()
        if self.on_wait is not None:
            self.on_wait()
        return False

    def withdraw(self, waiter: Waiter) -> None:
        """Leave the queue; harmless for a request that is not in it."""
        if self._slots is not None and self._queue.discard(waiter):
            self._show(self._slots)

    def timed_out(self, limit: float) -> QueueTimeout:
        """Give the error for a request that waited as long as it may."""
        return QueueTimeout(
            f"No slot became free within {limit:g} s; {self.waiting} requests are waiting for this model.",
            retry_after=self.expected_wait(),
        )

    def expected_wait(self) -> float:
        """Estimate in seconds when a request that comes now could start: queue length times the mean gap, 1 to 60 s."""
        gap = 0.0 if self._slots is None else self._slots.expected_gap()
        return _advised((self.waiting + 1) * gap)

    def release(self, waiter: Waiter) -> None:
        """Give a slot back, which goes to the next request. Called once for each slot, with who has got it."""
        self.running -= 1
        tokens = self._charged.pop(waiter, 0) if self._charged else 0
        if self._slots is not None and self._slots.give_back(tokens):
            self.serve()

    def serve(self) -> None:
        """Give free slots to those who wait here, up to the first who comes after one elsewhere, and wake that one.

        Called whenever a slot may have become free. A process that is woken in vain wakes the next.
        """
        slots = self._slots
        if slots is None:
            return
        served: list[Waiter] = []
        with slots.lock:
            if self._queue.length:
                # Its first request may come later by now, because another process has served its tenant.
                self._show(slots)
            while self._can_serve(slots) and slots.next_is_here():
                served.append(self._serve_next(slots))
            free = slots.running < slots.limit
        if free:
            slots.wake_next()
        for waiter in served:
            waiter.granted()

    def tick(self) -> None:
        """Take what is free at two ticks in a row, in turn or not: the process that should have taken it does not.

        That process is stuck, or did not hear that it was woken. So no request waits beside a free slot for ever.
        """
        slots = self._slots
        if slots is None:
            return
        free = self._can_serve(slots)
        served: list[Waiter] = []
        if free and self._was_free:
            with slots.lock:
                while self._can_serve(slots):
                    served.append(self._serve_next(slots))
        self._was_free = free
        for waiter in served:
            waiter.granted()

    # what the audit compares

    def counted_here(self) -> AdmissionCounts:
        """Tell what is counted of the requests of this process."""
        charged = sum(self._charged.values())
        if self._slots is None:
            return AdmissionCounts(self.running, self._queue.length, None, None, charged, None)
        here = self._slots.here
        return AdmissionCounts(self.running, self._queue.length, here.running, here.tokens, charged, here.waiting)

    def correct(self, running: Collection[Waiter], waiting: Collection[Waiter]) -> None:
        """Count those that run and wait in truth from now on, whatever was counted before."""
        self.running = len(running)
        for waiter in [each for each in self._charged if each not in running]:
            del self._charged[waiter]
        slots = self._slots
        if slots is None:
            return
        with slots.lock:
            for waiter in [each for each in self._queue.waiters if each not in waiting]:
                self._queue.discard(waiter)
            for waiter in [each for each in waiting if each not in self._queue.waiters]:
                self._queue.push(waiter, waiter.ticket, perf_counter())
            slots.correct(self.running, sum(self._charged.values()))
            self._show(slots)
        self.serve()

    # inside

    def _arrange(self) -> None:
        """Have slots as the limits and the gate want them, and serve whom they let through."""
        limited = self._limit is not None or self._max_tokens is not None
        slots = self._slots
        if not limited and self.open:
            self._serve_all()
            return
        limit = self._limit
        if limit is None:
            limit = ANY_NUMBER if limited else NO_LIMIT
        # Where nothing is limited, each process orders by itself what it holds; so the slots are others then.
        if slots is None or (slots.limit == NO_LIMIT) is not (limit == NO_LIMIT):
            slots = self._slots = self._new_slots(limit, self.running)
            self._charged.clear()
            self._queue.set_time(slots.time)
        slots.limit = limit
        slots.max_tokens = self._max_tokens
        self._show(slots)
        self.serve()

    def _serve_all(self) -> None:
        """Let all through who wait here, and count slots no more."""
        slots, self._slots = self._slots, None
        if slots is not None:
            served = [self._serve_next(slots) for _ in range(self._queue.length)]
            self._charged.clear()
            for waiter in served:
                waiter.granted()

    def _can_serve(self, slots: Slots) -> bool:
        """Whether there is room for the next request here."""
        return self.open and self._queue.length > 0 and slots.has_room(self._queue.first().tokens)

    def _serve_next(self, slots: Slots) -> Waiter:
        """Take a slot for the next request here. The lock is held."""
        ticket = self._queue.first()
        waiter = self._queue.pop()
        self._show(slots)
        self._take(slots, waiter, ticket)
        return waiter

    def _take(self, slots: Slots, waiter: Waiter, ticket: Ticket) -> None:
        tokens = 0
        if self._max_tokens is not None:
            tokens = self._charged[waiter] = ticket.tokens
        slots.take(tokens)
        self.running += 1

    def _show(self, slots: Slots) -> None:
        """Publish the queue. Requests that wait for a replica let others pass that have one."""
        rank, since = self._queue.head()
        slots.show_queue(self._queue.length, rank if self.open else _CLOSED, since)

    def _wait_of(self, slots: Slots, ticket: Ticket) -> float:
        """Estimate how long a request would wait that comes now, in seconds; 0 where nothing tells.

        Elsewhere as large a share of those that wait comes before it as here.
        """
        here = self._queue.length
        if not self.open or not here:
            return 0.0
        return self._queue.ahead_of(ticket) * slots.waiting / here * slots.expected_gap()

    def _refusal(self, slots: Slots, waiting: int, wait: float, within: float) -> QueueFull | DeadlineUnreachable:
        if waiting < self.max_queue:
            return DeadlineUnreachable(
                f"A slot is expected in {wait:.1f} s, and the request can wait {max(0.0, within):.1f} s.",
                retry_after=_advised(wait - within),
            )
        return self._full(slots, waiting)

    def _full(self, slots: Slots, waiting: int) -> QueueFull:
        if not self.open:
            full = "No replica of this model is ready"
        elif self._max_tokens is not None:
            full = f"All slots or all {self._max_tokens} tokens of this model are taken"
        else:
            full = f"All {slots.limit} slots of this model are taken"
        return QueueFull(f"{full} and {waiting} requests wait already.", retry_after=self.expected_wait())


def _advised(seconds: float) -> float:
    """Give the time after which a client is told to come back: from a second to a minute."""
    return min(60.0, max(1.0, seconds))
