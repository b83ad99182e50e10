"""What several processes count is added up, and what one held is forgotten when it has ended."""

from __future__ import annotations

from gateway.batches.counts import BatchCounts


def test_counts_of_processes_are_added_up() -> None:
    total, other = BatchCounts(), BatchCounts()
    for counts in (total, other):
        counts.lines["completed"] += 2
        counts.ended["failed"] += 1
        counts.under_way["in_progress"] += 1
        counts.in_flight += 3
    total.add(other)
    assert (total.lines["completed"], total.ended["failed"]) == (4, 2)
    assert (total.under_way["in_progress"], total.in_flight) == (2, 6)
    total.hold_nothing()
    assert (total.lines["completed"], total.under_way["in_progress"], total.in_flight) == (4, 0, 0)
