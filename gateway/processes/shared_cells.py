"""Numbers that several processes share, and locks that the kernel takes back from a process that dies.

A row has one cell per process. Each process writes its own cells only, so nothing is lost without atomic operations,
and what a dead process held is taken out by setting its cells to zero. Rows that all may write, under a lock, are kept.
A cell is a signed 64-bit integer that is stored and loaded in one piece.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Iterable

Row = memoryview
"""One number as every process has it; its sum is the node's."""

_CELL_BYTES = 8

_SEGMENT_ROWS = mmap.ALLOCATIONGRANULARITY // _CELL_BYTES


_FLOCK = struct.Struct("@hhqqi0q")
"""``struct flock`` of ``fcntl(2)``: type, where ``start`` counts from, start, length (0: to the end), process."""


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

    One process makes rows, at any time. ``fd`` is the descriptor to hand to another, which is told the ``names`` of all
    rows in their order, and of those that are made later. The memory grows by whole segments, so that a row stays where
    it is.
    """

    def __init__(self, fd: int, names: Iterable[str], processes: int) -> None:
        self.fd = fd
        self.processes = processes
        self._at: dict[str, int] = {}
        self._kept: set[str] = set()
        """Rows that no process holds for itself, and whose numbers outlive it."""
        self._segments: list[tuple[mmap.mmap, Row]] = []
        self._rows: dict[str, Row] = {}
        self.know(names)

    @classmethod
    def create(cls, names: Iterable[str], processes: int) -> Cells:
        """Make rows of zeros."""
        cells = cls(os.memfd_create("headgate-cells", os.MFD_CLOEXEC), (), processes)
        for name in names:
            cells.make(name)
        return cells

    def __repr__(self) -> str:
        return f"<Cells [{len(self._at)} rows of {self.processes}]>"

    @property
    def names(self) -> list[str]:
        """The names of all rows, in their order."""
        return list(self._at)

    def know(self, names: Iterable[str]) -> None:
        """Find rows that were made elsewhere, in the order in which they were made."""
        for name in names:
            self._at[name] = len(self._at)
        self._map_all()

    def make(self, name: str, *, kept: bool = False) -> bool:
        """Make a row of zeros, if there is none of this name; return whether there was none.

        A row that is ``kept`` is not cleared when a process ends: its cells are written by all, under a lock.
        """
        if name in self._at:
            return False
        if kept:
            self._kept.add(name)
        self._at[name] = len(self._at)
        if len(self._at) > len(self._segments) * _SEGMENT_ROWS:
            os.ftruncate(self.fd, (len(self._segments) + 1) * self._segment_bytes)
        self._map_all()
        return True

    def row(self, name: str) -> Row:
        """Return the row of a name, to be read by all and written by each at its own index."""
        if name not in self._rows:
            segment, number = divmod(self._at[name], _SEGMENT_ROWS)
            begin = number * self.processes
            self._rows[name] = self._segments[segment][1][begin : begin + self.processes]
        return self._rows[name]

    def lock(self, name: str) -> Lock:
        """Return the lock that belongs to a row."""
        return Lock(self.fd, self._at[name])

    def lock_holders(self) -> frozenset[int]:
        """Give the ids of the other processes that hold one of these locks at this moment."""
        at, holders = 0, set[int]()
        while True:
            asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, at, 0, 0)
            kind, _, start, length, pid = _FLOCK.unpack(fcntl.fcntl(self.fd, fcntl.F_GETLK, asked))
            if kind == fcntl.F_UNLCK:
                return frozenset(holders)
            holders.add(pid)
            at = start + length

    def clear(self, process: int) -> None:
        """Take out what a process counted; it must have ended."""
        for name, number in self._at.items():
            if name not in self._kept:
                segment, row = divmod(number, _SEGMENT_ROWS)
                self._segments[segment][1][row * self.processes + process] = 0

    def close(self) -> None:
        """Give the memory back; no row may be read any more."""
        for row in self._rows.values():
            row.release()
        for memory, cells in self._segments:
            cells.release()
            memory.close()
        os.close(self.fd)

    @property
    def _segment_bytes(self) -> int:
        # A multiple of the size of a page, where alone a mapping may begin.
        return _SEGMENT_ROWS * _CELL_BYTES * self.processes

    def _map_all(self) -> None:
        while len(self._segments) * _SEGMENT_ROWS < len(self._at):
            at = len(self._segments) * self._segment_bytes
            memory = mmap.mmap(self.fd, self._segment_bytes, offset=at)
            self._segments.append((memory, memoryview(memory).cast("q")))
