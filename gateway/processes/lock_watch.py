"""Ends a process that stands still while it holds a lock, because all others wait for that lock.

A process that is stuck without one takes nobody else with it, and is left to ``/livez`` and to people.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway.processes.cell_layout import TICKED_AT
from gateway.processes.shared_cells import Cells

STILL_SECONDS = 5.0
"""How long a process may not tick; what is done under a lock takes microseconds."""


class Process(Protocol):
    """A process that may hold locks."""

    @property
    def pid(self) -> int | None:
        """Its process id, while it lives."""

    def kill(self, reason: str) -> None:
        """End it at once; ``reason`` is for people."""


class LockWatch:
    """Looks after the locks that the processes of one node share; ``processes`` are in the order of their cells."""

    def __init__(self, cells: Cells, processes: Sequence[Process]) -> None:
        self._cells = cells
        self._processes = processes

    def __repr__(self) -> str:
        return f"<LockWatch [{len(self._cells.lock_holders())} of {len(self._processes)} processes hold a lock]>"

    def tick(self, now: float) -> None:
        """End the processes that stand still and hold a lock; ``now`` is a ``perf_counter`` reading, in seconds."""
        row, latest = self._cells.row(TICKED_AT), (now - STILL_SECONDS) * 1e9
        # One that has not ticked at all is about to.
        still = [each for own, each in enumerate(self._processes) if 0 < row[own] < latest]
        holders = self._cells.lock_holders() if still else frozenset()
        for each in still:
            if each.pid in holders:
                each.kill(
                    f"It stood still for {STILL_SECONDS:g} s with a lock that the others wait for, and was ended."
                )
