"""The rows of the shared memory by name, and the parts of a registry that read and write them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from gateway.config.schema import Config
from gateway.pools.admission import Admission
from gateway.pools.build import Parts, replica_names
from gateway.pools.pool import Pool
from gateway.pools.replica import Replica
from gateway.processes.acceptor import Share
from gateway.processes.shared_admission import Counts, SharedAdmission
from gateway.processes.shared_cells import Cells
from gateway.processes.shared_replica import ChildReplica, ParentPool, ParentReplica

TICKED_AT = "tick"
"""When each process tick last: a ``monotonic`` reading in nanoseconds."""

HELD = "held"
"""How many connections of clients each process holds."""

RECEIVED = "received"
"""How many connections each process was handed by others, since the start."""


def rows(config: Config) -> Iterator[str]:
    """Name every row; parent and children must agree on their order."""
    yield from (TICKED_AT, HELD, RECEIVED)
    yield from (handed_to(process) for process in range(config.gateway.processes))
    for name, model in config.models.items():
        yield from (running(name), waiting(name), since(name), tokens(name))
        for replica in replica_names(name, model):
            yield from (in_flight(replica), answers(replica))


def handed_to(process: int) -> str:
    """Name the row of connections that were handed to a process, since the start."""
    return f"handed to {process}"


def share_of(cells: Cells, own: int) -> Share:
    """Find the rows of connections."""
    handed = [cells.row(handed_to(process)) for process in range(cells.processes)]
    return Share(cells.row(TICKED_AT), cells.row(HELD), cells.row(RECEIVED), handed, own)


def forget(cells: Cells, process: int) -> None:
    """Take out what a process counted that has ended, and what was on its way to it."""
    handed = [cells.row(handed_to(each)) for each in range(cells.processes)]
    given = [row[process] for row in handed]
    cells.clear(process)
    # What it handed to others has arrived there or will.
    for row, number in zip(handed, given, strict=True):
        row[process] = number
    cells.row(RECEIVED)[process] = sum(handed[process])


def running(model: str) -> str:
    """Name the row of requests running."""
    return f"{model} running"


def waiting(model: str) -> str:
    """Name the row of requests waiting."""
    return f"{model} waiting"


def since(model: str) -> str:
    """Name the row of the moments since when the first waits."""
    return f"{model} since"


def tokens(model: str) -> str:
    """Name the row of tokens in flight."""
    return f"{model} tokens"


def in_flight(replica: str) -> str:
    """Name the row of requests at a replica."""
    return f"{replica} in flight"


def answers(replica: str) -> str:
    """Name the row of responses that a replica gave."""
    return f"{replica} answers"


def counts_of(cells: Cells, model: str) -> Counts:
    """Find the rows of a pool's admission."""
    return Counts(cells.row(running(model)), cells.row(waiting(model)), cells.row(since(model)))


def parent_parts(
    cells: Cells, tell_replica: Callable[[ParentReplica], None], tell_pool: Callable[[ParentPool], None]
) -> Parts:
    """Say what the parent's registry is built of."""

    def replica(name: str, *arguments: Any, **options: Any) -> Replica:
        counted = {"in_flight": cells.row(in_flight(name)), "answers": cells.row(answers(name))}
        return ParentReplica(name, *arguments, tell=tell_replica, **counted, **options)

    def pool(model: str, *arguments: Any, **options: Any) -> Pool:
        counts, in_tokens = counts_of(cells, model), cells.row(tokens(model))
        return ParentPool(model, *arguments, tell=tell_pool, counts=counts, tokens=in_tokens, **options)

    return Parts(replica=replica, pool=pool)


def child_parts(cells: Cells, own: int, doubt: Callable[[str, str], None], wake: Callable[[int, str], None]) -> Parts:
    """Say what the registry of a child is built of."""

    def replica(name: str, *arguments: Any, **options: Any) -> Replica:
        counted = {"in_flight": cells.row(in_flight(name)), "answers": cells.row(answers(name))}
        return ChildReplica(name, *arguments, own=own, doubt=doubt, **counted, **options)

    def admission(model: str, limit: int | None, max_queue: int) -> Admission:
        if limit is None:
            return Admission(limit, max_queue)
        counts, lock = counts_of(cells, model), cells.lock(running(model))
        return SharedAdmission(limit, max_queue, counts, lock, own, lambda process: wake(process, model))

    return Parts(replica=replica, admission=admission)


class Publisher:
    """Shows the others, at each tick, what only people look at; what limits and policies look at is shown at once."""

    def __init__(self, cells: Cells, own: int, pools: list[Pool]) -> None:
        self._own = own
        self._tokens = [(pool, cells.row(tokens(pool.model))) for pool in pools]
        unlimited = (pool for pool in pools if pool.admission.limit is None)
        self._running = [(pool.admission, cells.row(running(pool.model))) for pool in unlimited]

    def publish(self) -> None:
        """Copy the numbers."""
        own = self._own
        for pool, row in self._tokens:
            row[own] = pool.tokens_in_flight
        for admission, row in self._running:
            row[own] = admission.running
