"""How much a replica has to do from all processes of the node."""

from __future__ import annotations

from gateway.processes.shared_cells import Row


class SharedLoad:
    """What all processes have in flight at a replica, in a row of which each writes its own cell.

    ``own`` is the index of this process. The parent sends no requests, so it reads only.
    """

    __slots__ = ("_own", "_row")

    def __init__(self, row: Row, own: int) -> None:
        self._row = row
        self._own = own

    @property
    def in_flight(self) -> int:
        """How many requests all processes together have at the replica."""
        return sum(self._row)

    def entered(self) -> None:
        """Count a request that this process sends there."""
        self._row[self._own] += 1

    def left(self) -> None:
        """Count a request of this process out."""
        self._row[self._own] -= 1

    @property
    def here(self) -> int:
        """How many of them are counted by this process."""
        return self._row[self._own]

    def correct(self, in_flight: int) -> None:
        """Count so many requests of this process from now on."""
        self._row[self._own] = in_flight
