"""The right of one process to try a replica that was ejected."""

from __future__ import annotations

from contextlib import AbstractContextManager

from gateway.processes.shared_cells import Row


class SharedTrial:
    """Who of all processes tries a replica: the one whose cell is not 0. What a dead process held is taken back.

    ``own`` is the index of this process.
    """

    __slots__ = ("_lock", "_own", "_row")

    def __init__(self, row: Row, own: int, lock: AbstractContextManager[object]) -> None:
        self._row = row
        self._own = own
        self._lock = lock

    def claim(self) -> bool:
        """Take the right, if nobody has it."""
        row = self._row
        if any(row):
            return False
        with self._lock:
            free = not any(row)
            if free:
                row[self._own] = 1
        return free

    def release(self) -> None:
        """Give it back."""
        self._row[self._own] = 0
