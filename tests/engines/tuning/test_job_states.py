"""Whatever becomes of a job is kept with what is said of it, told to those who wait, and leaves only what is needed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engines.tuning.job_states import JobStates
from engines.tuning.records import Job, JobError, Stage
from engines.tuning.store import Store
from tests.kit.tuning import order


class Here:
    """The states of one job, with a log and a result in its folder."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder / "tuning" / "jobs.sqlite3")
        self.changed = 0
        self.states = JobStates(self.store, folder / "tuning" / "jobs", self._note)
        self.states.created(Job(id="ftjob-1", name="ft:m", order=order(folder), created_at=0), ["file-1", "file-2"])
        self.folder = self.states.folder_of("ftjob-1")
        self.folder.result.mkdir(parents=True)
        self.folder.log.touch()

    def _note(self) -> None:
        self.changed += 1

    @property
    def job(self) -> Job:
        return self.states.find("ftjob-1")

    def at(self, stage: Stage) -> Job:
        job = self.job
        job.stage = stage
        return job

    def write(self, *lines: dict[str, object]) -> None:
        with (self.folder.path / "events.jsonl").open("a") as file:
            file.writelines(f"{json.dumps({'at': 0.0} | line)}\n" for line in lines)

    @property
    def said(self) -> list[str]:
        return [event.message for event in reversed(self.store.events("ftjob-1", 100, None)[0])]

    @property
    def left(self) -> set[str]:
        return {each.name for each in self.folder.path.iterdir()}


@pytest.fixture
def here(folder: Path) -> Iterator[Here]:
    made = Here(folder)
    yield made
    made.store.close()


def test_a_new_job_says_which_files_are_looked_at(here: Here) -> None:
    assert here.said == ["Created fine-tuning job: ftjob-1", "Validating files: file-1, file-2"]
    assert (here.job.status, here.changed) == ("validating_files", 1)


@pytest.mark.parametrize(
    ("become", "state", "said"),
    [
        (JobStates.queued, ("queued", "train"), "Files validated, moving job to queued state"),
        (JobStates.started, ("running", "train"), "Fine-tuning job started"),
        (JobStates.paused, ("paused", "train"), "The job has been paused."),
        (JobStates.resumed, ("queued", "train"), "The job has been resumed."),
        (JobStates.trained, ("running", "publish"), "The training is complete; the model is being published."),
        (JobStates.cancelled, ("cancelled", "done"), "The job has been cancelled."),
    ],
)
def test_each_change_is_kept_and_told_with_what_is_said_of_it(
    become: Callable[[JobStates, Job], None], state: tuple[str, str], said: str, here: Here
) -> None:
    become(here.states, here.job)
    assert ((here.job.status, here.job.stage), here.said[-1], here.changed) == (state, said, 2)
    assert here.left == {"train.log", "result"}


def test_of_a_job_that_is_served_the_result_is_left(here: Here) -> None:
    here.write()
    here.states.published(here.at("publish"), ["file-3"])
    assert (here.job.status, here.job.stage, here.job.result_files) == ("succeeded", "done", ["file-3"])
    assert here.said[-2:] == ["New fine-tuned model created: ft:m", "The job has successfully completed"]
    assert here.left == {"train.log", "result"}


def test_of_a_job_that_has_failed_only_the_log_is_left(here: Here) -> None:
    error = JobError("training_failed", "no more memory")
    here.states.failed(here.job, error)
    assert (here.job.status, here.job.stage, here.job.error) == ("failed", "done", error)
    assert here.said[-1] == "The job failed: no more memory"
    assert here.left == {"train.log"}


def test_a_model_that_is_deleted_or_cancelled_while_it_is_published_is_withdrawn_first(here: Here) -> None:
    here.states.cancelled(here.at("publish"))
    assert (here.job.status, here.job.stage) == ("cancelled", "withdraw")
    here.states.deleted(here.at("done"))
    assert here.job.stage == "withdraw"
    assert not here.job.deleted
    here.states.withdrawn(here.job)
    assert (here.job.stage, here.job.deleted, here.left) == ("done", True, {"train.log"})
    assert here.said[-1] == "The model ft:m is served no longer."


def test_a_checkpoint_forgets_earlier_deaths_and_nothing_is_taken_over_twice(here: Here) -> None:
    job = here.job
    job.deaths = 2
    here.states.say(job, "The training ended unasked.", "warn")
    here.write({"type": "message", "message": "training from step 0"})
    assert here.states.catch_up(here.job).deaths == 2
    here.write({"type": "checkpoint", "step": 1})
    for _ in range(2):
        assert here.states.catch_up(here.job).deaths == 0
    assert here.said[-2:] == ["The training ended unasked.", "training from step 0"]
    assert [each.step for each in here.store.checkpoints("ftjob-1", 9, None)[0]] == [1]
    assert here.changed == 1


def test_what_is_written_after_the_training_is_not_read(here: Here) -> None:
    here.write({"type": "message", "message": "too late"})
    here.states.catch_up(here.at("publish"))
    assert "too late" not in here.said


def test_folders_of_jobs_that_never_began_are_removed(here: Here) -> None:
    left = here.folder.path.parent / "ftjob-left"
    left.mkdir()
    here.states.remove_left()
    assert (left.exists(), here.folder.path.exists()) == (False, True)
