"""A process that stands still with a lock is ended, and no other is."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event

import pytest

from gateway.processes.cell_layout import TICKED_AT
from gateway.processes.lock_watch import STILL_SECONDS, LockWatch
from gateway.processes.shared_cells import Cells, Lock

FORK = multiprocessing.get_context("fork")


@dataclass
class Process:
    pid: int | None
    killed_for: list[str] = field(default_factory=list)

    def kill(self, reason: str) -> None:
        self.killed_for.append(reason)


def hold(lock: Lock, held: Event) -> None:
    with lock:
        held.set()
        signal.pause()


@contextmanager
def holder(lock: Lock) -> Iterator[BaseProcess]:
    """Give a process that holds a lock."""
    held = FORK.Event()
    process = FORK.Process(target=hold, args=(lock, held))
    process.start()
    try:
        assert held.wait(10)
        yield process
    finally:
        process.kill()
        process.join()


@pytest.mark.parametrize(
    ("still", "killed"), [(STILL_SECONDS - 0.1, [False, False]), (STILL_SECONDS + 0.1, [True, True])]
)
def test_a_process_is_ended_that_stands_still_with_a_lock(still: float, killed: list[bool]) -> None:
    cells = Cells.create([TICKED_AT, "a", "b"], 3)
    with holder(cells.lock("a")) as first, holder(cells.lock("b")) as second:
        processes = [Process(first.pid), Process(second.pid), Process(1)]
        for own in range(3):
            cells.row(TICKED_AT)[own] = 100 * 10**9
        watch = LockWatch(cells, processes)
        assert repr(watch) == "<LockWatch [2 of 3 processes hold a lock]>"
        watch.tick(100.0 + still)
        assert [bool(each.killed_for) for each in processes] == [*killed, False]
    cells.close()


@pytest.mark.parametrize("ticked_at", [0, 108])
def test_a_process_that_goes_on_or_has_not_begun_is_left_alone(ticked_at: int) -> None:
    cells = Cells.create([TICKED_AT, "a"], 2)
    with holder(cells.lock("a")) as busy:
        processes = [Process(busy.pid), Process(1)]
        cells.row(TICKED_AT)[0] = ticked_at * 10**9
        LockWatch(cells, processes).tick(110.0)
        assert [each.killed_for for each in processes] == [[], []]
    cells.close()
