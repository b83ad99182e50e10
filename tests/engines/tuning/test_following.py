"""What a training writes becomes events, checkpoints, and what is shown of its job."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.tuning.following import take_over
from engines.tuning.records import Hyperparameters, Job, Progress
from tests.kit.tuning import order


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(id="j", name="ft:a", order=order(tmp_path), created_at=0)


def test_metrics_are_told_as_openai_tells_them(job: Job) -> None:
    line = {"at": 5.5, "type": "metrics", "step": 2, "total_steps": 8, "train_loss": 0.25, "valid_loss": 0.5}
    (event,), checkpoints = take_over(job, [line])
    assert event.message == "Step 2/8: training loss=0.2500, validation loss=0.5000"
    assert event.type == "metrics"
    assert event.data == {"step": 2, "total_steps": 8, "train_loss": 0.25, "valid_loss": 0.5}
    assert checkpoints == []


def test_messages_keep_their_level_and_their_moment(job: Job) -> None:
    lines = [{"at": 1.0, "type": "message", "level": level, "message": "m"} for level in ("warn", "loud")]
    events, _ = take_over(job, lines)
    assert [(each.at, each.level, each.message) for each in events] == [(1.0, "warn", "m"), (1.0, "info", "m")]


def test_what_is_left_becomes_the_moment_of_the_end(job: Job) -> None:
    take_over(job, [{"at": 100.0, "type": "progress", "phase": "train", "share": 0.5, "seconds_left": 20}])
    assert job.progress == Progress("train", 0.5, 120.0)
    take_over(job, [{"at": 110.0, "type": "progress", "phase": "export", "share": 0, "seconds_left": None}])
    assert job.progress == Progress("export", 0.0, None)


def test_numbers_that_were_resolved_are_shown_and_wrong_ones_are_not(job: Job) -> None:
    given = {"n_epochs": 3, "batch_size": 16, "learning_rate_multiplier": 0.5, "more": 1}
    take_over(job, [{"at": 1.0, "type": "resolved", "hyperparameters": given}])
    assert job.hyperparameters == Hyperparameters(3, 16, 0.5)
    take_over(job, [{"at": 1.0, "type": "resolved", "hyperparameters": {"n_epochs": "many"}}])
    assert job.hyperparameters == Hyperparameters(3, 16, 0.5)


def test_checkpoints_and_trained_tokens_are_kept_and_the_unknown_is_passed_over(job: Job) -> None:
    lines = [
        {"at": 1.0, "type": "checkpoint", "step": 4, "path": "/x", "metrics": {"train_loss": 1.0}},
        {"at": 2.0, "type": "trained", "trained_tokens": 99},
        {"at": 3.0, "type": "of a later version"},
    ]
    events, (checkpoint,) = take_over(job, lines)
    assert events == []
    assert (checkpoint.step, checkpoint.metrics) == (4, {"train_loss": 1.0})
    assert job.trained_tokens == 99
