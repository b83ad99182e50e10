"""Which processes may not know yet what was last said of a replica or a pool.

A replica may be forgotten when nothing is in flight there and no process sends it anything any more. What is in flight
is seen at once, as it is in shared memory, but a message takes its time.
"""

from __future__ import annotations

from collections.abc import Collection


class Confirmations:
    """Numbers what processes are asked to confirm, and knows which of them have not done so."""

    def __init__(self) -> None:
        self._number = 0
        self._awaited: dict[object, tuple[int, set[int]]] = {}
        """For each replica or pool, the number to be confirmed, and the processes that have not."""

    def __repr__(self) -> str:
        return f"<Confirmations [{len(self._awaited)} awaited]>"

    def next_number(self) -> int:
        """Give the number that is to be confirmed next."""
        self._number += 1
        return self._number

    def wait_for(self, subject: object, number: int, processes: Collection[int]) -> None:
        """Wait until each of these processes has confirmed a number, or has ended, before ``subject`` is settled."""
        if processes:
            self._awaited[subject] = (number, set(processes))

    def confirmed(self, process: int, number: int) -> None:
        """Note that a process has confirmed a number, and with it all that are lower."""
        for subject, (awaited, processes) in list(self._awaited.items()):
            if awaited <= number:
                self._done(subject, processes, process)

    def ended(self, process: int) -> None:
        """Wait no longer for a process: one that takes its place knows everything from the start."""
        for subject, (_, processes) in list(self._awaited.items()):
            self._done(subject, processes, process)

    def settled(self, subject: object) -> bool:
        """Whether all processes know what was last said of a replica or a pool."""
        return subject not in self._awaited

    def _done(self, subject: object, processes: set[int], process: int) -> None:
        processes.discard(process)
        if not processes:
            del self._awaited[subject]
