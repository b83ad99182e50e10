"""Numbers that several processes share, and locks that the kernel takes back from a process that dies.

A row has one cell per process. Each process writes its own cells only, so nothing is lost without atomic operations,
and what a dead process held is taken out by setting its cells to zero. A cell is a signed 64-bit integer that is stored
and loaded in one piece.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterable

Row = memoryview
"""One number as every process has it; its sum is the node's."""

_CELL_BYTES = 8


class Lock:
    """Excludes the other processes, not the other threads of this one; freed by the kernel when its holder dies.

    It is a lock on one byte of a file (POSIX, ``fcntl(2)``). A process must not wait for one while it holds another:
    two such processes would be a deadlock, which the kernel refuses with an error.
    """

    __slots__ = ("_at", "_fd")

    def __init__(self, fd: int, at: int) -> None:
        self._fd = fd
        self._at = at

    def __enter__(self) -> None:
        fcntl.lockf(self._fd, fcntl.LOCK_EX, 1, self._at)

    def __exit__(self, *_: object) -> None:
        fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, self._at)


class WholeLock:
    """Excludes the other processes for as long as it takes, from a thread that may wait while others take a ``Lock``.

    It is a lock on the open file (``flock(2)``), which the kernel does not count among those that could be a deadlock.
    """

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        # Descriptors that were inherited are one open file to the kernel, and exclude none.
        self._fd = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)

    def __enter__(self) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_UN)


class Cells:
    """Rows of cells, by name, in memory that is gone when the last process that has it ends.

    ``fd`` is the descriptor to hand to another process, which then gives the same names in the same order.
    """

    def __init__(self, fd: int, names: Iterable[str], processes: int) -> None:
        self.fd = fd
        self.processes = processes
        self._at = {name: number for number, name in enumerate(names)}
        self._map = mmap.mmap(fd, max(1, len(self._at)) * processes * _CELL_BYTES)
        self._all = memoryview(self._map).cast("q")
        self._rows: dict[str, Row] = {}

    @classmethod
    def create(cls, names: Iterable[str], processes: int) -> Cells:
        """Make rows of zeros."""
        known = list(names)
        fd = os.memfd_create("headgate-cells", os.MFD_CLOEXEC)
        os.ftruncate(fd, max(1, len(known)) * processes * _CELL_BYTES)
        return cls(fd, known, processes)

    def __repr__(self) -> str:
        return f"<Cells [{len(self._at)} rows of {self.processes}]>"

    def row(self, name: str) -> Row:
        """Return the row of a name, to be read by all and written by each at its own index."""
        if name not in self._rows:
            begin = self._at[name] * self.processes
            self._rows[name] = self._all[begin : begin + self.processes]
        return self._rows[name]

    def lock(self, name: str) -> Lock:
        """Return the lock that belongs to a row."""
        return Lock(self.fd, self._at[name])

    def clear(self, process: int) -> None:
        """Take out what a process counted; it must have ended."""
        for at in range(process, len(self._all), self.processes):
            self._all[at] = 0

    def close(self) -> None:
        """Give the memory back; no row may be read any more."""
        for each in (*self._rows.values(), self._all):
            each.release()
        self._map.close()
        os.close(self.fd)
