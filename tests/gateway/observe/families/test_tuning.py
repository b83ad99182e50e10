"""Fine-tuning jobs are shown by their status, with zeros from the start, and only where there is something to tune."""

from __future__ import annotations

from gateway.config.schema import Config
from gateway.observe.exposition import Exposition
from gateway.tuning.client import TuningClient
from gateway.tuning.job_tally import JobTally
from tests.gateway.observe.scraping import scraped, value


def test_jobs_under_way_and_jobs_that_have_ended(exposition: Exposition) -> None:
    model = {"engine": "onnx", "source": "/m", "tasks": ["embed"], "tuning": {"source": "/w"}}
    tally = JobTally(TuningClient(Config.model_validate({"models": {"m": model}})))
    exposition.tuning_jobs = lambda: tally
    assert value(scraped(exposition), "fine_tuning_jobs", status="queued") == 0
    assert value(scraped(exposition), "fine_tuning_jobs_ended_total", status="failed") == 0
    tally.under_way["queued"] = 2
    tally.ended["failed"] += 3
    assert value(scraped(exposition), "fine_tuning_jobs", status="queued") == 2
    assert value(scraped(exposition), "fine_tuning_jobs_ended_total", status="failed") == 3


def test_there_is_nothing_where_there_is_nothing_to_tune(exposition: Exposition) -> None:
    assert not [sample for sample in scraped(exposition) if "fine_tuning" in str(sample)]
