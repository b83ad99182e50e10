"""The rows of the shared memory by name, and how the registries of parent and children count in them.

The parent makes the rows: those of connections at the start, and those of a pool or a replica when its own registry
gets it. Each has its name, so a pool or a replica that comes again finds the row that it had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from gateway.pools.admission import Admission
from gateway.pools.ejection import LocalTrial, Trial
from gateway.pools.pool import Load, Pool
from gateway.pools.replica import Replica, ReplicaLoad
from gateway.pools.slots import NO_LIMIT, LocalSlots, NewSlots, Slots
from gateway.pools.virtual_time import TAGS, VirtualTime
from gateway.processes.acceptor import ConnectionShare
from gateway.processes.shared_cells import Cells, Row
from gateway.processes.shared_load import SharedLoad
from gateway.processes.shared_slots import SharedSlots, SharedTags, SlotRows
from gateway.processes.shared_trial import SharedTrial

TICKED_AT = "tick"
"""When each process ticked last: a ``monotonic`` reading in nanoseconds."""

HELD = "held"
"""How many connections of clients each process holds."""

RECEIVED = "received"
"""How many connections each process was handed by others, since the start."""


def connection_rows(processes: int) -> Iterator[str]:
    """Name the rows that there are from the start."""
    yield from (TICKED_AT, HELD, RECEIVED)
    yield from (handed_to(process) for process in range(processes))


def handed_to(process: int) -> str:
    """Name the row of connections that were handed to a process, since the start."""
    return f"handed to {process}"


def connection_share(cells: Cells, own: int) -> ConnectionShare:
    """Find the rows of connections."""
    handed = [cells.row(handed_to(process)) for process in range(cells.processes)]
    return ConnectionShare(cells.row(TICKED_AT), cells.row(HELD), cells.row(RECEIVED), handed, own)


def forget(cells: Cells, process: int) -> None:
    """Take out what a process counted that has ended, and what was on its way to it."""
    handed = [cells.row(handed_to(each)) for each in range(cells.processes)]
    given = [row[process] for row in handed]
    cells.clear(process)
    # What it handed to others has arrived there or will.
    for row, number in zip(handed, given, strict=True):
        row[process] = number
    cells.row(RECEIVED)[process] = sum(handed[process])


def running(pool: str) -> str:
    """Name the row of requests running."""
    return f"{pool} running"


def waiting(pool: str) -> str:
    """Name the row of requests waiting."""
    return f"{pool} waiting"


def rank(pool: str) -> str:
    """Name the row of the ranks of those that are next."""
    return f"{pool} rank"


def since(pool: str) -> str:
    """Name the row of when those came that are next."""
    return f"{pool} since"


def slot_tokens(pool: str) -> str:
    """Name the row of tokens that count against a limit."""
    return f"{pool} slot tokens"


def tags(pool: str) -> list[str]:
    """Name the rows of the tags of virtual time."""
    return [f"{pool} tag {number}" for number in range(TAGS)]


def tokens(pool: str) -> str:
    """Name the row of tokens in flight."""
    return f"{pool} tokens"


def in_flight(replica: str) -> str:
    """Name the row of requests at a replica."""
    return f"{replica} in flight"


def answers(replica: str) -> str:
    """Name the row of requests that a replica has answered."""
    return f"{replica} answers"


def trial(replica: str) -> str:
    """Name the row of who tries a replica that was ejected."""
    return f"{replica} trial"


_SLOT_ROWS = (running, waiting, rank, since, slot_tokens)
"""The names of a pool's slots, in the order of ``SlotRows``."""


def slot_rows(cells: Cells, pool: str) -> SlotRows:
    """Find the rows of a pool's slots."""
    return SlotRows(*(cells.row(name(pool)) for name in _SLOT_ROWS))


class ParentCounting:
    """How the parent's registry counts: it reads what the children count, and runs nothing itself.

    ``made`` is told the names of rows that are made for it.
    """

    def __init__(self, cells: Cells, made: Callable[[Sequence[str]], None]) -> None:
        self._cells = cells
        self._made = made

    def replica_load(self, replica: str) -> ReplicaLoad:
        """Add up what all processes have at a replica."""
        self._make(in_flight(replica), answers(replica))
        return SharedLoad(self._cells.row(in_flight(replica)), own=0)

    def replica_trial(self, replica: str) -> Trial:
        """Let the children try a replica; the parent sends no requests."""
        self._make(trial(replica))
        return LocalTrial()

    def new_slots(self, pool: str) -> NewSlots:
        """Share no slots, because the parent admits nothing; but make the tags of virtual time where there is a limit.

        They are many, and the queue of a pool without a limit needs none.
        """

        def new_slots(limit: int, here: int) -> Slots:
            if limit != NO_LIMIT:
                self._make(*tags(pool))
            return LocalSlots(limit, here)

        return new_slots

    def pool_load(self, pool: str) -> Callable[[float], Load] | None:
        """Add up what all processes have to do."""
        self._make(*(name(pool) for name in _SLOT_ROWS), tokens(pool))
        shared, in_tokens = slot_rows(self._cells, pool), self._cells.row(tokens(pool))

        def load(now: float) -> Load:
            return Load(sum(shared.running), sum(shared.waiting), shared.oldest_wait(now), sum(in_tokens))

        return load

    def _make(self, *names: str) -> None:
        made = [name for name in names if self._cells.make(name)]
        if made:
            self._made(made)


class ChildCounting:
    """How a child's registry counts: what limits and policies look at is shared with the other processes.

    ``wake`` tells a process that a slot of a pool may be free.
    """

    def __init__(self, cells: Cells, own: int, wake: Callable[[int, str], None]) -> None:
        self._cells = cells
        self._own = own
        self._wake = wake

    def replica_load(self, replica: str) -> ReplicaLoad:
        """Share what is in flight at a replica."""
        return SharedLoad(self._cells.row(in_flight(replica)), self._own)

    def replica_trial(self, replica: str) -> Trial:
        """Share the right to try a replica."""
        return SharedTrial(self._cells.row(trial(replica)), self._own, self._cells.lock(trial(replica)))

    def new_slots(self, pool: str) -> NewSlots:
        """Share the slots of a pool."""
        shared, lock, own = slot_rows(self._cells, pool), self._cells.lock(running(pool)), self._own

        def wake(process: int) -> None:
            self._wake(process, pool)

        def new_slots(limit: int, here: int) -> Slots:
            time = None
            if limit != NO_LIMIT:
                time = VirtualTime(SharedTags([self._cells.row(tag) for tag in tags(pool)], own))
            return SharedSlots(limit, shared, lock, own, wake, here, time)

        return new_slots

    def pool_load(self, _pool: str) -> Callable[[float], Load] | None:
        """Leave the load to the pool; the parent adds up what is published."""
        return None


class Publisher:
    """Shows the parent, at each tick, what no request waits for; what limits and policies look at is shown at once."""

    def __init__(self, cells: Cells, own: int) -> None:
        self._cells = cells
        self._own = own
        self._tokens: list[tuple[Pool, Row]] = []
        self._running: list[tuple[Admission, Row]] = []
        self._answers: list[tuple[Replica, Row]] = []

    def set_pools(self, pools: Sequence[Pool]) -> None:
        """Show these pools and their replicas from now on."""
        row = self._cells.row
        self._tokens = [(pool, row(tokens(pool.name))) for pool in pools]
        unlimited = (pool for pool in pools if pool.admission.limit is None)
        self._running = [(pool.admission, row(running(pool.name))) for pool in unlimited]
        self._answers = [(each, row(answers(each.name))) for pool in pools for each in pool.replicas]

    def publish(self) -> None:
        """Copy the numbers into this process's cells."""
        own = self._own
        for pool, row in self._tokens:
            row[own] = pool.tokens_in_flight
        for admission, row in self._running:
            row[own] = admission.running
        for replica, row in self._answers:
            row[own] = replica.answers


class AnswerTotals:
    """Takes over in the parent, at each tick, how many requests the children got answered."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        self._answers: list[tuple[Replica, Row]] = []

    def set_replicas(self, replicas: Sequence[Replica]) -> None:
        """Add up for these replicas from now on."""
        self._answers = [(replica, self._cells.row(answers(replica.name))) for replica in replicas]

    def read(self) -> None:
        """Add up the numbers of all processes."""
        for replica, row in self._answers:
            replica.set_answers(sum(row))
