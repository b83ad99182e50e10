"""The metrics of the node: what its processes counted, those that have ended too, as one set of series."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from gateway.observe.counters import Metrics, Snapshot
from gateway.pools.registry import Registry


class _Parts(NamedTuple):
    past: Snapshot
    latest: Mapping[int, Snapshot]


class NodeMetrics(Collector):
    """Adds up what each process said last.

    A counter never goes backwards: what a process that is gone said last stays counted, and what it counted after that
    was never shown. Written by the main thread, read by the control plane's: the parts are replaced as a whole, so that
    a reader finds a process either among the living or in the past.
    """

    def __init__(self, registry: Callable[[], Registry], version: str, commit: str) -> None:
        self._registry = registry
        self._build = (version, commit)
        self._parts = _Parts(Metrics(registry, version, commit).snapshot(), {})

    def __repr__(self) -> str:
        return f"<NodeMetrics of {len(self._parts.latest)} processes>"

    def counted(self, process: int, snapshot: Snapshot) -> None:
        """Take what a process has counted since it started."""
        self._parts = _Parts(self._parts.past, {**self._parts.latest, process: snapshot})

    def ended(self, process: int) -> None:
        """Keep what a process said last; another may count in its place from now on."""
        latest = dict(self._parts.latest)
        last = latest.pop(process, None)
        if last is not None:
            self._parts = _Parts(self._sum([self._parts.past, last]).snapshot(), latest)

    def collect(self) -> Iterable[Metric]:
        """Give every family; called by Prometheus's registry on the control plane's thread."""
        parts = self._parts
        return self._sum([parts.past, *parts.latest.values()]).collect()

    def _sum(self, snapshots: Iterable[Snapshot]) -> Metrics:
        total = Metrics(self._registry, *self._build)
        for snapshot in snapshots:
            total.add(snapshot)
        return total
