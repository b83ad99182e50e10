"""Cells are shared by all who map them, and locks exclude other processes until their holder ends."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
from multiprocessing.synchronize import Event

import pytest

from gateway.processes.shared_cells import Cells, Lock, WholeLock

FORK = multiprocessing.get_context("fork")


def test_what_one_writes_another_reads_by_the_same_name() -> None:
    first = Cells.create(["a", "b"], 3)
    second = Cells(os.dup(first.fd), ["a", "b"], 3)
    first.row("b")[1] = 7
    second.row("b")[2] = -2
    assert (sum(first.row("a")), list(second.row("b"))) == (0, [0, 7, -2])
    assert repr(second) == "<Cells [2 rows of 3]>"
    first.close()
    second.close()


def test_clearing_a_process_leaves_the_others_alone() -> None:
    cells = Cells.create(["a", "b"], 2)
    for name in ("a", "b"):
        cells.row(name)[0], cells.row(name)[1] = 5, 6
    cells.clear(0)
    assert [list(cells.row(name)) for name in ("a", "b")] == [[0, 6], [0, 6]]
    cells.close()


def test_rows_that_are_made_later_are_found_and_leave_the_others_where_they_are() -> None:
    first = Cells.create(["a"], 3)
    second = Cells(os.dup(first.fd), first.names, 3)
    early = second.row("a")
    later = [f"r{number}" for number in range(2000)]
    assert all(first.make(name) for name in later)
    assert not first.make("r7")
    second.know(later)
    first.row("r1999")[2] = 5
    first.row("a")[0] = 6
    assert (list(second.row("r1999")), list(early)) == ([0, 0, 5], [6, 0, 0])
    first.clear(2)
    assert list(second.row("r1999")) == [0, 0, 0]
    first.close()
    second.close()


def hold(lock: Lock, held: Event) -> None:
    with lock:
        held.set()
        signal.pause()


def is_free(fd: int, at: int) -> bool:
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, at)
    except BlockingIOError:
        return False
    fcntl.lockf(fd, fcntl.LOCK_UN, 1, at)
    return True


def test_a_lock_is_freed_when_its_holder_is_killed_and_is_one_of_several() -> None:
    cells = Cells.create(["a", "b"], 2)
    held = FORK.Event()
    holder = FORK.Process(target=hold, args=(cells.lock("b"), held))
    holder.start()
    assert held.wait(10)
    assert is_free(cells.fd, 0)
    assert not is_free(cells.fd, 1)
    assert cells.lock_holders() == {holder.pid}
    holder.kill()
    holder.join()
    assert cells.lock_holders() == set()
    with cells.lock("b"):
        pass
    cells.close()


def hold_whole(fd: int, held: Event) -> None:
    with WholeLock(fd):
        held.set()
        signal.pause()


def test_the_whole_lock_excludes_a_process_that_inherited_the_descriptor() -> None:
    cells = Cells.create(["a"], 2)
    held = FORK.Event()
    holder = FORK.Process(target=hold_whole, args=(cells.fd, held))
    holder.start()
    assert held.wait(10)
    lock = WholeLock(cells.fd)
    with pytest.raises(BlockingIOError):
        fcntl.flock(lock._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    # A slot's lock is none of the log's business.
    with cells.lock("a"):
        holder.kill()
        holder.join()
    with lock:
        pass
    os.close(lock._fd)
    cells.close()


def test_a_row_that_is_kept_outlives_the_processes_that_wrote_it() -> None:
    cells = Cells.create(["own"], 2)
    assert cells.make("kept", kept=True)
    for name in ("own", "kept"):
        for process in range(2):
            cells.row(name)[process] = 3 + process
    cells.clear(0)
    assert (list(cells.row("own")), list(cells.row("kept"))) == ([0, 4], [3, 4])
    cells.close()
