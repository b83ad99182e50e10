"""Jobs as clients see them: OpenAI's own types read them."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
from openai.types.fine_tuning import FineTuningJob as OpenAIJob
from openai.types.fine_tuning import FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint

from engines.train.job import Prune
from engines.tuning.records import Checkpoint, Event, Job, Progress
from engines.tuning.shown import EventPage, FineTuningCheckpoint, FineTuningEvent, FineTuningJob, ends_of
from tests.kit.tuning import order


def shown(job: Job) -> OpenAIJob:
    return OpenAIJob.model_validate_json(msgspec.json.encode(FineTuningJob.of(job)), strict=True)


def test_a_model_has_its_name_when_its_job_has_succeeded(tmp_path: Path) -> None:
    job = Job(id="ftjob-1", name="ft:a", order=order(tmp_path), created_at=7, status="running")
    job.progress = Progress("train", 0.5, 99.5)
    running = shown(job)
    assert (running.fine_tuned_model, running.estimated_finish, running.model) == (None, 99, "base")
    job.status = "succeeded"
    done = shown(job)
    assert (done.fine_tuned_model, done.estimated_finish) == ("ft:a", None)


def test_a_job_shows_how_its_model_is_made_smaller(tmp_path: Path) -> None:
    job = Job(id="ftjob-1", name="ft:a", order=order(tmp_path, prune=Prune(3)), created_at=7)
    supervised = json.loads(msgspec.json.encode(FineTuningJob.of(job)))["method"]["supervised"]
    assert supervised["hyperparameters"]["prune"] == {"layers": 3}
    assert supervised["hyperparameters"]["distill"] is None


def test_events_and_checkpoints_are_those_of_openai() -> None:
    event = msgspec.json.encode(FineTuningEvent.of(Event(1.9, "m", "warn", number=3)))
    read = FineTuningJobEvent.model_validate_json(event, strict=True)
    assert (read.id, read.created_at, read.level) == ("ftevent-3", 1, "warn")


def test_a_checkpoint_is_named_after_its_step(tmp_path: Path) -> None:
    job = Job(id="ftjob-1", name="ft:a", order=order(tmp_path), created_at=7)
    data = msgspec.json.encode(FineTuningCheckpoint.of(job, Checkpoint(8, 1.0, {"train_loss": 0.5}, number=2)))
    read = FineTuningJobCheckpoint.model_validate_json(data, strict=True)
    assert (read.id, read.fine_tuned_model_checkpoint, read.step_number) == ("ftckpt-2", "ft:a:ckpt-step-8", 8)
    assert read.metrics.train_loss == 0.5


def test_a_page_says_whether_there_are_more() -> None:
    shown = [FineTuningEvent.of(Event(1.0, "m", number=number)) for number in (2, 1)]
    told = json.loads(msgspec.json.encode(EventPage(True, *ends_of(shown), data=shown)))
    assert (told["object"], told["has_more"], told["first_id"], told["last_id"]) == (
        "list",
        True,
        "ftevent-2",
        "ftevent-1",
    )
    assert ends_of([]) == (None, None)
