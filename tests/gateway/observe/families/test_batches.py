"""Batches are shown by their status, and their lines by what became of them."""

from __future__ import annotations

from gateway.observe.counters import Counters
from gateway.observe.exposition import Exposition
from tests.gateway.observe.scraping import scraped, value


def test_batches_and_lines_that_were_counted(exposition: Exposition, metrics: Counters) -> None:
    batches = metrics.batches
    batches.under_way["in_progress"] = 2
    batches.ended["completed"] += 3
    batches.lines["completed"] += 40
    batches.in_flight = 4
    samples = scraped(exposition)
    assert value(samples, "batches", status="in_progress") == 2
    assert value(samples, "batches_ended_total", status="completed") == 3
    assert value(samples, "batch_lines_total", outcome="completed") == 40
    assert value(samples, "batch_lines_in_flight") == 4


def test_there_is_a_zero_before_the_first_batch(exposition: Exposition) -> None:
    samples = scraped(exposition)
    assert value(samples, "batches_ended_total", status="failed") == 0
    assert value(samples, "batch_lines_total", outcome="failed") == 0
