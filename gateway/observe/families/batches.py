"""Batches and their lines."""

from __future__ import annotations

from gateway.observe.families.row import Row, Scrape
from gateway.observe.text_format import Kind, Samples


def _batches_ended(scrape: Scrape) -> Samples:
    return [((status,), number) for status, number in scrape.counters.batches.ended.items()]


def _batches_under_way(scrape: Scrape) -> Samples:
    return [((status,), number) for status, number in scrape.counters.batches.under_way.items()]


def _batch_lines(scrape: Scrape) -> Samples:
    return [((outcome,), number) for outcome, number in scrape.counters.batches.lines.items()]


BATCHES = (
    Row(
        Kind.GAUGE,
        "batches",
        "Batches that have not ended.",
        ("status",),
        _batches_under_way,
    ),
    Row(
        Kind.COUNTER,
        "batches_ended",
        "Batches that have ended, by how.",
        ("status",),
        _batches_ended,
    ),
    Row(
        Kind.COUNTER,
        "batch_lines",
        "Lines of batches by what became of them; those that were retried or have yielded are asked again.",
        ("outcome",),
        _batch_lines,
    ),
    Row(
        Kind.GAUGE,
        "batch_lines_in_flight",
        "Lines of batches that are being asked.",
        (),
        lambda scrape: [((), scrape.counters.batches.in_flight)],
    ),
)
