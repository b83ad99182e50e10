"""What a job is, as far as it follows from what is written down of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.tuning.records import Job, Stage, Status, default_threads
from tests.kit.tuning import order


@pytest.mark.parametrize(
    ("status", "stage", "training"),
    [
        ("queued", "train", True),
        ("running", "train", True),
        ("running", "publish", False),
        ("paused", "train", False),
        ("cancelled", "done", False),
    ],
)
def test_which_jobs_are_to_be_trained(status: Status, stage: Stage, training: bool, tmp_path: Path) -> None:
    job = Job(id="j", name="ft:a", order=order(tmp_path), created_at=0, status=status, stage=stage)
    assert job.training == training


def test_a_job_has_a_thread_at_least() -> None:
    assert default_threads(10_000) == 1
    assert default_threads(1) >= 1
