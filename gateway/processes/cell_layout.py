"""The rows of the shared memory by name, and how the registries of parent and children count in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from gateway.config.schema import Config
from gateway.pools.build import pools_of, replica_names
from gateway.pools.pool import Load, Pool
from gateway.pools.replica import Replica, ReplicaLoad
from gateway.pools.slots import Slots
from gateway.processes.acceptor import ConnectionShare
from gateway.processes.shared_cells import Cells
from gateway.processes.shared_load import SharedLoad
from gateway.processes.shared_slots import SharedSlots, SlotRows

TICKED_AT = "tick"
"""When each process ticked last: a ``monotonic`` reading in nanoseconds."""

HELD = "held"
"""How many connections of clients each process holds."""

RECEIVED = "received"
"""How many connections each process was handed by others, since the start."""


def rows(config: Config) -> Iterator[str]:
    """Name every row; parent and children must agree on their order."""
    yield from (TICKED_AT, HELD, RECEIVED)
    yield from (handed_to(process) for process in range(config.gateway.processes))
    for pool in pools_of(config):
        yield from (running(pool), waiting(pool), rank(pool), tokens(pool))
        for replica in replica_names(pool, config.models[pool]):
            yield from (in_flight(replica), answers(replica))


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


def tokens(pool: str) -> str:
    """Name the row of tokens in flight."""
    return f"{pool} tokens"


def in_flight(replica: str) -> str:
    """Name the row of requests at a replica."""
    return f"{replica} in flight"


def answers(replica: str) -> str:
    """Name the row of requests that a replica has answered."""
    return f"{replica} answers"


def slot_rows(cells: Cells, pool: str) -> SlotRows:
    """Find the rows of a pool's slots."""
    return SlotRows(cells.row(running(pool)), cells.row(waiting(pool)), cells.row(rank(pool)))


class ParentCounting:
    """How the parent's registry counts: it reads what the children count, and runs nothing itself."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    def replica_load(self, replica: str) -> ReplicaLoad:
        """Add up what all processes have at a replica."""
        return SharedLoad(self._cells.row(in_flight(replica)), own=0)

    def slots(self, _pool: str, _limit: int) -> Slots | None:
        """Share no slots: the parent admits nothing."""
        return None

    def pool_load(self, pool: str) -> Callable[[float], Load] | None:
        """Add up what all processes have to do."""
        shared, in_tokens = slot_rows(self._cells, pool), self._cells.row(tokens(pool))

        def load(now: float) -> Load:
            return Load(sum(shared.running), sum(shared.waiting), shared.oldest_wait(now), sum(in_tokens))

        return load


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

    def slots(self, pool: str, limit: int) -> Slots | None:
        """Share the slots of a pool."""
        lock = self._cells.lock(running(pool))
        return SharedSlots(
            limit, slot_rows(self._cells, pool), lock, self._own, lambda process: self._wake(process, pool)
        )

    def pool_load(self, _pool: str) -> Callable[[float], Load] | None:
        """Leave the load to the pool; the parent adds up what is published."""
        return None


class Publisher:
    """Shows the parent, at each tick, what no request waits for; what limits and policies look at is shown at once."""

    def __init__(self, cells: Cells, own: int, pools: Sequence[Pool]) -> None:
        self._own = own
        self._tokens = [(pool, cells.row(tokens(pool.name))) for pool in pools]
        unlimited = (pool for pool in pools if pool.admission.limit is None)
        self._running = [(pool.admission, cells.row(running(pool.name))) for pool in unlimited]
        self._answers = [(each, cells.row(answers(each.name))) for pool in pools for each in pool.replicas]

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

    def __init__(self, cells: Cells, replicas: Sequence[Replica]) -> None:
        self._answers = [(replica, cells.row(answers(replica.name))) for replica in replicas]

    def read(self) -> None:
        """Add up the numbers of all processes."""
        for replica, row in self._answers:
            replica.set_answers(sum(row))
