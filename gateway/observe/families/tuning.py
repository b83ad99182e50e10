"""Fine-tuning jobs."""

from __future__ import annotations

from gateway.observe.families.row import Row, Scrape
from gateway.observe.text_format import Kind, Samples


def _jobs_under_way(scrape: Scrape) -> Samples:
    jobs = scrape.tuning_jobs
    return [] if jobs is None else [((status,), number) for status, number in jobs.under_way.items()]


def _jobs_ended(scrape: Scrape) -> Samples:
    jobs = scrape.tuning_jobs
    return [] if jobs is None else [((status,), number) for status, number in jobs.ended.items()]


TUNING = (
    Row(
        Kind.GAUGE,
        "fine_tuning_jobs",
        "Fine-tuning jobs that have not ended; only where there is something to tune.",
        ("status",),
        _jobs_under_way,
    ),
    Row(
        Kind.COUNTER,
        "fine_tuning_jobs_ended",
        "Fine-tuning jobs that have ended, by how; only where there is something to tune.",
        ("status",),
        _jobs_ended,
    ),
)
