"""What becomes of jobs: each change is written down together with what is said of it, and those are told who wait."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from time import time

from engines.tuning.following import take_over
from engines.tuning.job_folder import JobFolder
from engines.tuning.records import Event, Job, JobError, Level
from engines.tuning.store import Store


class JobStates:
    """The states of the jobs of a store, whose files are in folders below ``folder``.

    ``changed`` is called whenever a job has become another, so that there may be something for the gateway to do or to
    count. All methods raise ``sqlite3.Error`` where the disk fails.
    """

    def __init__(self, store: Store, folder: Path, changed: Callable[[], None]) -> None:
        self._store = store
        self._folder = folder
        self._changed = changed

    def __repr__(self) -> str:
        return f"<JobStates of {self._store!r}>"

    def remove_left(self) -> None:
        """Make the folder of the jobs, and remove what a crash has left there of some that never began."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        known = self._store.ids()
        for left in [each for each in self._folder.iterdir() if each.name not in known]:
            shutil.rmtree(left, ignore_errors=True)

    def folder_of(self, job_id: str) -> JobFolder:
        """Give the folder of a job."""
        return JobFolder(self._folder / job_id)

    def find(self, job_id: str) -> Job:
        """Find a job that there is."""
        job = self._store.find(job_id)
        assert job is not None
        return job

    def catch_up(self, job: Job) -> Job:
        """Take over what the training of a job has written since."""
        if job.stage != "train":
            return job
        lines, read_bytes = self.folder_of(job.id).new_lines(job.read_bytes)
        if read_bytes != job.read_bytes:
            before = job.deaths
            events, checkpoints = take_over(job, lines)
            job.read_bytes = read_bytes
            job.deaths = 0 if checkpoints else before
            self._store.save(job, *events, checkpoints=checkpoints)
        return job

    def say(self, job: Job, message: str, level: Level = "info") -> None:
        """Add to what has happened to a job, which is no other for that."""
        self._store.save(job, Event(time(), message, level))

    # from its order to its training

    def created(self, job: Job, files: Sequence[str]) -> None:
        """Keep a job whose files of examples, given by their ids, are in its folder."""
        said = (f"Created fine-tuning job: {job.id}", f"Validating files: {', '.join(files)}")
        self._store.add(job, *map(_said, said))
        self._changed()

    def queued(self, job: Job) -> None:
        """Note that a job can be trained."""
        job.status = "queued"
        self._save(job, _said("Files validated, moving job to queued state"))

    def started(self, job: Job) -> None:
        """Note that the training of a job begins, for the first time or after a pause."""
        job.status = "running"
        self._save(job, _said("Fine-tuning job started"))

    def paused(self, job: Job) -> None:
        """Note that a job is to stay where it is."""
        job.status = "paused"
        self._save(job, _said("The job has been paused."))

    def resumed(self, job: Job) -> None:
        """Note that a paused job may go on."""
        job.status = "queued"
        self._save(job, _said("The job has been resumed."))

    # from its training to its end

    def trained(self, job: Job) -> None:
        """Leave the result of a job to be published."""
        job.stage, job.status = "publish", "running"
        self._save(job, _said("The training is complete; the model is being published."))

    def published(self, job: Job, result_files: list[str]) -> None:
        """Note that the gateway serves the model of a job."""
        job.status, job.stage, job.finished_at = "succeeded", "done", int(time())
        job.result_files = result_files
        self._save(job, _said(f"New fine-tuned model created: {job.name}"), _said("The job has successfully completed"))
        folder = self.folder_of(job.id)
        folder.tidy(keep=[folder.result])

    def failed(self, job: Job, error: JobError) -> None:
        """Give a job up."""
        job.status, job.stage, job.finished_at, job.error = "failed", "done", int(time()), error
        self._save(job, Event(time(), f"The job failed: {error.message}", "error"))
        self.folder_of(job.id).tidy()

    def cancelled(self, job: Job) -> None:
        """Note that a job has ended for good; where its model is being published, that is withdrawn."""
        job.status, job.finished_at = "cancelled", int(time())
        job.stage = "withdraw" if job.stage == "publish" else "done"
        self._save(job, _said("The job has been cancelled."))

    def deleted(self, job: Job) -> None:
        """Leave a model that is served to be withdrawn."""
        job.stage = "withdraw"
        self._save(job)

    def withdrawn(self, job: Job) -> None:
        """Note that the gateway serves the model of a job no longer."""
        job.stage, job.deleted = "done", True
        self._save(job, _said(f"The model {job.name} is served no longer."))
        self.folder_of(job.id).tidy()

    def _save(self, job: Job, *events: Event) -> None:
        self._store.save(job, *events)
        self._changed()


def _said(message: str) -> Event:
    return Event(time(), message)
