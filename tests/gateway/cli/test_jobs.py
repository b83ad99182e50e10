"""``headgate jobs`` shows each job on a line; with a running gateway it is tested in ``test_tune``."""

from __future__ import annotations

import pytest

from gateway.cli.jobs import line_of, listing
from gateway.cli.main import main

JOB = {"id": "ftjob-1", "created_at": 0, "status": "failed", "model": "m", "fine_tuned_model": None}


def test_a_job_is_one_line_with_its_model_or_its_error() -> None:
    failed = line_of(JOB | {"error": {"message": "No memory.\nIts last words"}})
    assert failed.startswith("ftjob-1  19")
    assert failed.endswith("  failed            m  No memory.")
    assert line_of(JOB | {"status": "succeeded", "fine_tuned_model": "ft:m", "error": None}).endswith("m  ft:m")
    assert line_of(JOB | {"status": "queued", "error": None}).endswith("  queued            m")


def test_jobs_are_a_line_each_and_that_there_is_none_is_told() -> None:
    job = JOB | {"error": None}
    assert listing([job, job]) == f"{line_of(job)}\n{line_of(job)}"
    assert listing([]) == "There is no fine-tuning job."


@pytest.mark.parametrize(("words", "expected"), [(["cancel"], "cancel JOB"), (["list", "ftjob-1"], "follow JOB")])
def test_a_job_is_named_where_one_is_meant(words: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", *words]) == 1
    assert capsys.readouterr().err == f"headgate: expected 'headgate jobs', or 'headgate jobs {expected}'.\n"


def test_a_gateway_that_does_not_answer_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "--url", "http://127.0.0.1:1"]) == 1
    assert capsys.readouterr().err.startswith("headgate: No gateway answers at http://127.0.0.1:1 (--url): ")
