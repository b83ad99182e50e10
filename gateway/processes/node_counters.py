"""What all processes of the node have counted, those that have ended too, as the counters of one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from gateway.observe.counters import Counters, Snapshot


class _Parts(NamedTuple):
    past: Snapshot
    latest: Mapping[int, Snapshot]


class NodeCounters:
    """Adds up the latest snapshot of each process.

    A counter never goes backwards: the latest snapshot of a process that has ended stays counted, and what it counted
    after that was never shown. Written by the main thread, read by the control plane's: the parts are replaced as a
    whole, so that a reader finds a process either among the living or in the past.
    """

    def __init__(self) -> None:
        self._parts = _Parts(Counters().snapshot(), {})

    def __repr__(self) -> str:
        return f"<NodeCounters of {len(self._parts.latest)} processes>"

    def counted(self, process: int, snapshot: Snapshot) -> None:
        """Take what a process has counted since it started."""
        self._parts = _Parts(self._parts.past, {**self._parts.latest, process: snapshot})

    def ended(self, process: int) -> None:
        """Keep the latest snapshot of a process; another may count in its place from now on."""
        latest = dict(self._parts.latest)
        last = latest.pop(process, None)
        if last is not None:
            past = _sum([self._parts.past, last])
            past.wire.hold_nothing()
            past.batches.hold_nothing()
            self._parts = _Parts(past.snapshot(), latest)

    def total(self) -> Counters:
        """Add up what all processes have counted."""
        parts = self._parts
        return _sum([parts.past, *parts.latest.values()])


def _sum(snapshots: Iterable[Snapshot]) -> Counters:
    total = Counters()
    for snapshot in snapshots:
        total.add(snapshot)
    return total
