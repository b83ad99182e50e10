"""Room now, or a place in the queue: how many requests of one pool may be under way.

A slot is held from admission to the end of the response. Requests beyond the limit wait in a queue; beyond the queue's
length they are refused, with the time after which a slot is likely, estimated from how fast slots became free.
"""

from __future__ import annotations

from time import perf_counter

from gateway.core.errors import QueueTimeout, Unavailable
from gateway.pools.queue import FifoQueue, Queue, Waiter
from gateway.pools.slots import LocalSlots, NewSlots, Slots


class Admission:
    """Lets requests of one pool run while there are slots, and queues the others.

    There are ``limit`` slots, none counted where it is ``None``: of this process alone, or such as ``new_slots`` makes
    that several processes share. Then each process queues its own requests, and a free slot goes to the one with the
    lowest rank wherever it waits: its process is woken and takes the slot itself.

    A slot is given back without the lock. A process that begins to wait just then might miss it, and the process that
    gives it back might miss who waits; ``tick`` finds such a slot.
    """

    __slots__ = ("_new_slots", "_queue", "_slots", "_was_free", "max_queue", "running")

    def __init__(
        self, limit: int | None, max_queue: int, *, new_slots: NewSlots = LocalSlots, queue: Queue | None = None
    ) -> None:
        self._new_slots = new_slots
        self._slots: Slots | None = None if limit is None else new_slots(limit, 0)
        self._queue: Queue = FifoQueue() if queue is None else queue
        self.max_queue = max_queue
        self.running = 0
        """How many requests this process has running."""
        self._was_free = False

    def __repr__(self) -> str:
        slots = self._slots
        if slots is None:
            return f"<Admission [{self.running} running, 0 waiting; no limit]>"
        return f"<Admission [{slots.running} running, {slots.waiting} waiting; limit {slots.limit}]>"

    @property
    def limit(self) -> int | None:
        """How many requests may run at once; ``None`` for as many as come."""
        return None if self._slots is None else self._slots.limit

    @property
    def waiting(self) -> int:
        """How many requests wait for a slot, those of other processes too that share the slots."""
        return 0 if self._slots is None else self._slots.waiting

    def set_limits(self, limit: int | None, max_queue: int) -> None:
        """Change how many requests may run and wait.

        Requests that run already are never ended, and those that wait get what has become free.
        """
        self.max_queue = max_queue
        slots = self._slots
        if slots is None:
            if limit is not None:
                self._slots = self._new_slots(limit, self.running)
        elif limit is None:
            served = [self._serve_next(slots) for _ in range(self._queue.length)]
            self._slots = None
            for waiter in served:
                waiter.granted()
        else:
            slots.limit = limit
            self.serve()

    def oldest_wait(self, now: float) -> float:
        """How long the next request of this process has waited, in seconds; 0 for an empty queue."""
        return now - self._queue.head_rank() / 1e9 if self._queue.length else 0.0

    def admit(self, waiter: Waiter) -> bool:
        """Take a slot now, or queue ``waiter``, whose ``granted`` is called when it gets one later (``False``).

        Raises ``Unavailable`` with a ``retry_after`` when the queue is full too.
        """
        slots = self._slots
        if slots is None or slots.try_take():
            self.running += 1
            return True
        with slots.lock:
            waiting = slots.waiting
            if not waiting and slots.running < slots.limit:
                slots.take()
                self.running += 1
                return True
            if waiting < self.max_queue:
                self._queue.push(waiter, perf_counter())
                slots.show_queue(self._queue.length, self._queue.head_rank())
        if waiting >= self.max_queue:
            raise Unavailable(
                f"All {slots.limit} slots of this model are taken and {waiting} requests wait already.",
                retry_after=self.expected_wait(),
            )
        # A slot may have become free, or an announcement may have been withdrawn, while this request joined the queue.
        self.serve()
        return False

    def withdraw(self, waiter: Waiter) -> None:
        """Leave the queue; harmless for a request that is not in it."""
        if self._slots is not None and self._queue.discard(waiter):
            self._slots.show_queue(self._queue.length, self._queue.head_rank())

    def timed_out(self, limit: float) -> QueueTimeout:
        """Give the error for a request that waited as long as it may."""
        return QueueTimeout(
            f"No slot became free within {limit:g} s; {self.waiting} requests are waiting for this model.",
            retry_after=self.expected_wait(),
        )

    def expected_wait(self) -> float:
        """Estimate in seconds when a request that comes now could start: queue length times the mean gap, 1 to 60 s."""
        gap = 0.0 if self._slots is None else self._slots.expected_gap()
        return min(60.0, max(1.0, (self.waiting + 1) * gap))

    def release(self) -> None:
        """Give a slot back, which goes to the next request. Called once for each slot."""
        self.running -= 1
        if self._slots is not None and self._slots.give_back():
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
            while self._queue.length and slots.running < slots.limit and slots.next_is_here():
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
        free = self._queue.length > 0 and slots.running < slots.limit
        served: list[Waiter] = []
        if free and self._was_free:
            with slots.lock:
                while self._queue.length and slots.running < slots.limit:
                    served.append(self._serve_next(slots))
        self._was_free = free
        for waiter in served:
            waiter.granted()

    def _serve_next(self, slots: Slots) -> Waiter:
        """Take a slot for the next request here. The lock is held."""
        waiter = self._queue.pop()
        slots.show_queue(self._queue.length, self._queue.head_rank())
        slots.take()
        self.running += 1
        return waiter
