"""A job is queued when its examples are good and its weights are there, or else given up with the reason."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from engines.tuning.job_states import JobStates
from engines.tuning.preparations import Preparations
from engines.tuning.records import Job, JobError, Kind, Weights
from engines.tuning.store import Store
from tests.kit.eventually import PATIENCE, eventually
from tests.kit.tuning import order, settings


class Here:
    """Preparations of one job, whose examples are refused with a ``refusal``, once they may be looked at."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store(folder / "tuning" / "jobs.sqlite3")
        self.states = JobStates(self.store, folder / "tuning" / "jobs", lambda: None)
        self.refusal: JobError | None = None
        self.looked_at: list[tuple[str, str | None]] = []
        self.may_look = threading.Event()
        self.may_look.set()
        self.ended = asyncio.Event()
        self.preparations = Preparations(self.states, settings(folder), self._check, self.ended.set)

    def _check(self, kind: Kind, training: Path, validation: Path | None) -> JobError | None:
        self.may_look.wait(PATIENCE)
        self.looked_at.append((training.name, None if validation is None else validation.name))
        return self.refusal

    def begin(self, **other: Any) -> None:
        job = Job(id="ftjob-1", name="ft:m", order=order(self.folder, **other), created_at=0)
        self.states.folder_of(job.id).take_files(job.order.training_file.path, None)
        self.states.created(job, ["file-1"])
        self.preparations.begin(job.id)

    @property
    def job(self) -> Job:
        return self.states.find("ftjob-1")

    async def prepared(self) -> Job:
        await eventually(lambda: "ftjob-1" not in self.preparations)
        return self.job


@pytest.fixture
async def here(folder: Path) -> AsyncIterator[Here]:
    made = Here(folder)
    yield made
    made.may_look.set()
    await made.preparations.stop()
    made.store.close()


async def test_one_that_can_be_trained_is_queued_with_all_that_its_training_reads(here: Here) -> None:
    here.begin()
    assert (await here.prepared()).status == "queued"
    assert here.ended.is_set()
    assert here.looked_at == [("training.jsonl", None)]
    folder = here.states.folder_of("ftjob-1").path
    assert {each.name for each in folder.iterdir()} == {"training.jsonl", "job.json"}


async def test_bad_examples_are_refused_before_anything_is_queued(here: Here) -> None:
    here.refusal = JobError("invalid_training_file", "line 3: not valid", "training_file")
    here.begin()
    job = await here.prepared()
    assert (job.status, job.error) == ("failed", here.refusal)
    assert not here.ended.is_set()


async def test_a_base_without_weights_is_told(here: Here) -> None:
    here.begin(weights=Weights(folder="/none"))
    job = await here.prepared()
    assert job.error is not None
    assert (job.status, job.error.code, job.error.param) == ("failed", "weights_not_available", "model")


async def test_one_that_is_cancelled_meanwhile_leaves_nothing(here: Here) -> None:
    here.may_look.clear()
    here.begin()
    here.states.cancelled(here.job)
    here.may_look.set()
    assert (await here.prepared()).status == "cancelled"
    assert list(here.states.folder_of("ftjob-1").path.iterdir()) == []
    assert not here.ended.is_set()


async def test_one_that_the_end_of_the_server_interrupts_is_as_it_was(here: Here) -> None:
    here.may_look.clear()
    here.begin()
    await asyncio.sleep(0)
    await here.preparations.stop()
    assert (here.job.status, "ftjob-1" in here.preparations) == ("validating_files", False)
