"""The node's counters are the sum over its processes, the dead among them, and never go backwards."""

from __future__ import annotations

from gateway.core.context import RequestContext, RequestHead
from gateway.observe.counters import Counters, Snapshot
from gateway.observe.exposition import Exposition
from gateway.pools.registry import Registry
from gateway.processes.node_counters import NodeCounters

NOTHING = Registry([])


def counted(requests: int) -> Snapshot:
    """Count so many requests, as a process does, each of 3 s and with 5 tokens."""
    metrics = Counters()
    for _ in range(requests):
        context = RequestContext(RequestHead(""))
        context.model, context.head.endpoint, context.status = "m", "/classify", 200
        context.received_at, context.overhead = 100.0, 0.25
        context.output_tokens = 5
        metrics.ended(context, 103.0)
        metrics.lagged(0.003)
    metrics.of("m").attempts["ok"]["m-0"] += 1
    return metrics.snapshot()


def shown(metrics: NodeCounters) -> list[str]:
    exposition = Exposition(metrics.total, lambda: NOTHING, "1", "")
    names = ("requests_total", "request_duration_seconds_sum", "tokens_total", "lag_seconds_count", "attempts_total")
    lines = exposition.text().decode().splitlines()
    return [
        line.rpartition(" ")[2]
        for line in lines
        if any(name in line for name in names) and not line.startswith("#") and not line.endswith(" 0.0")
    ]


def test_processes_add_up_and_the_dead_stay_counted() -> None:
    metrics = NodeCounters()
    metrics.counted(0, counted(1))
    metrics.counted(1, counted(2))
    assert shown(metrics) == ["3.0", "9.0", "15.0", "2.0", "3.0"]
    metrics.counted(1, counted(3))
    assert shown(metrics) == ["4.0", "12.0", "20.0", "2.0", "4.0"]
    metrics.ended(1)
    assert repr(metrics) == "<NodeCounters of 1 processes>"
    assert shown(metrics) == ["4.0", "12.0", "20.0", "2.0", "4.0"]
    metrics.counted(1, counted(1))
    assert shown(metrics) == ["5.0", "15.0", "25.0", "3.0", "5.0"]
    metrics.ended(1)
    metrics.ended(1)
    assert shown(metrics) == ["5.0", "15.0", "25.0", "3.0", "5.0"]


def test_what_a_process_held_is_gone_with_it_and_what_it_refused_stays_counted() -> None:
    metrics = NodeCounters()
    for process in (0, 1):
        counters = Counters()
        counters.wire.connections, counters.wire.body_bytes = 2, 100
        counters.wire.refused["max_connections"] = 3
        metrics.counted(process, counters.snapshot())
    assert (metrics.total().wire.connections, metrics.total().wire.body_bytes) == (4, 200)
    metrics.ended(1)
    assert (metrics.total().wire.connections, metrics.total().wire.body_bytes) == (2, 100)
    assert metrics.total().wire.refused["max_connections"] == 6
