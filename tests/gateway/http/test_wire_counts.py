"""What processes hold and refuse adds up, and what a process held ends with it."""

from __future__ import annotations

from gateway.http.wire_counts import WireCounts


def test_counts_of_two_processes_add_up() -> None:
    total = WireCounts(connections=1, body_bytes=10)
    other = WireCounts(connections=2, body_bytes=5)
    other.refused["max_connections"] += 4
    total.add(other)
    assert (total.connections, total.body_bytes) == (3, 15)
    assert total.refused == {"max_connections": 4, "max_connections_per_client": 0, "max_total_body_bytes": 0}


def test_a_process_that_has_ended_holds_nothing_and_its_refusals_stay() -> None:
    counts = WireCounts(connections=1, body_bytes=10)
    counts.refused["max_total_body_bytes"] += 1
    counts.hold_nothing()
    assert (counts.connections, counts.body_bytes, counts.refused["max_total_body_bytes"]) == (0, 0, 1)
