"""What a gateway may ask of the jobs: order, look at, pause, resume and cancel them, and take over their models."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from time import time

from engines.tuning.errors import TuningError, no_such_job
from engines.tuning.records import Job, JobError, JobOrder, Task
from engines.tuning.runner import Runner
from engines.tuning.shown import (
    CHECKPOINT,
    EVENT,
    CheckpointPage,
    EventPage,
    FineTuningCheckpoint,
    FineTuningEvent,
    FineTuningJob,
    JobPage,
    ends_of,
)
from engines.tuning.store import Store

_WITHDRAW_SECONDS = 60.0
"""How long a deletion waits for the gateway to let a model be served no longer."""

_LONGEST_NAME = 200


class Service:
    """Decides what may be done with a job. All methods raise ``TuningError`` for what may not."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changed = asyncio.Event()
        self.runner: Runner

    def __repr__(self) -> str:
        return f"<Service {self.runner!r}>"

    def changed(self) -> None:
        """Wake those who wait for a job to become another: for something to do, for its end, or for a count."""
        self._changed.set()
        self._changed = asyncio.Event()

    # what clients ask

    async def create(self, order: JobOrder) -> FineTuningJob:
        """Take an order for a job."""
        number = secrets.token_hex(12)
        name = f"ft:{order.base}:{order.organization}:{order.suffix}:{number[:8]}"
        if len(name) > _LONGEST_NAME:
            raise TuningError(
                400, "name_too_long", f"The model's name would be {name!r}, over 200 characters.", "suffix"
            )
        job = Job(
            id=f"ftjob-{number}", name=name, order=order, created_at=int(time()), hyperparameters=order.hyperparameters
        )
        try:
            await self.runner.add(job)
        except FileNotFoundError as error:
            raise TuningError(
                400, "invalid_file", f"A file of examples is not there any more: {error.strerror}."
            ) from None
        return FineTuningJob.of(job)

    def jobs(self, owner: str, limit: int, after: str | None, metadata: dict[str, str]) -> JobPage:
        """List jobs, the newest first."""
        found, has_more = self._store.page(owner, limit, after, metadata)
        shown = [FineTuningJob.of(self._caught_up(job)) for job in found]
        return JobPage(has_more, *ends_of(shown), data=shown)

    def show(self, owner: str, job_id: str) -> FineTuningJob:
        """Show a job."""
        return FineTuningJob.of(self._job(owner, job_id))

    def events(self, owner: str, job_id: str, limit: int, after: str | None) -> EventPage:
        """List what has happened to a job, the newest first."""
        job = self._job(owner, job_id)
        found, has_more = self._store.events(job.id, limit, _number(after, EVENT))
        shown = [FineTuningEvent.of(event) for event in found]
        return EventPage(has_more, *ends_of(shown), data=shown)

    def checkpoints(self, owner: str, job_id: str, limit: int, after: str | None) -> CheckpointPage:
        """List the checkpoints of a job, the newest first."""
        job = self._job(owner, job_id)
        found, has_more = self._store.checkpoints(job.id, limit, _number(after, CHECKPOINT))
        shown = [FineTuningCheckpoint.of(job, each) for each in found]
        return CheckpointPage(has_more, *ends_of(shown), data=shown)

    def pause(self, owner: str, job_id: str) -> FineTuningJob:
        """Pause a job that waits or trains."""
        job = self._job(owner, job_id)
        if not job.training:
            raise _wrong_state(job, "paused", "one that is queued, or running and not published yet")
        self.runner.pause(job)
        return FineTuningJob.of(job)

    def resume(self, owner: str, job_id: str) -> FineTuningJob:
        """Resume a paused job."""
        job = self._job(owner, job_id)
        if job.status != "paused":
            raise _wrong_state(job, "resumed", "one that is paused")
        self.runner.resume(job)
        return FineTuningJob.of(job)

    def cancel(self, owner: str, job_id: str) -> FineTuningJob:
        """Cancel a job that has not ended."""
        job = self._job(owner, job_id)
        if job.status in ("succeeded", "failed", "cancelled"):
            raise _wrong_state(job, "cancelled", "one that has not ended")
        self.runner.cancel(job)
        return FineTuningJob.of(job)

    async def delete_model(self, owner: str, name: str) -> None:
        """Have a model served no longer, and remove its files."""
        job = self._store.named(owner, name)
        if job is None or job.status != "succeeded" or job.deleted:
            raise TuningError(404, "model_not_found", f"There is no fine-tuned model {name[:200]!r} of yours.", "model")
        if job.stage == "done":
            self.runner.states.deleted(job)
        try:
            async with asyncio.timeout(_WITHDRAW_SECONDS):
                while not self._known(job.id).deleted:
                    await self._changed.wait()
        except TimeoutError:
            raise TuningError(
                503, "model_in_use", f"The model {name!r} is still being withdrawn; look again later."
            ) from None

    # what the gateway reports

    async def next_task(self, within: float) -> Task | None:
        """Wait ``within`` seconds for something that the gateway is to do."""
        try:
            async with asyncio.timeout(within):
                while (task := self.runner.task()) is None:
                    await self._changed.wait()
        except TimeoutError:
            return None
        return task

    async def counts(self, known: dict[str, int] | None, within: float) -> dict[str, int]:
        """Count all owners' jobs by status, as soon as that is not what is ``known``, or after ``within`` seconds."""
        try:
            async with asyncio.timeout(within):
                while (counts := self._store.counts()) == known:
                    await self._changed.wait()
        except TimeoutError:
            return self._store.counts()
        return counts

    def warmed_up(self, job_id: str) -> None:
        """Take note that the base of an adapter has been asked, which is done once for each training."""
        self.runner.warmed_up(self._known(job_id))

    def published(self, job_id: str, result_files: list[str]) -> None:
        """Take note that a model is served."""
        self.runner.states.published(self._expected(job_id, "publish"), result_files)

    def refused(self, job_id: str, error: JobError) -> None:
        """Take note that a model cannot be served."""
        self.runner.states.failed(self._expected(job_id, "publish"), error)

    def withdrawn(self, job_id: str) -> None:
        """Take note that a model is served no longer."""
        self.runner.states.withdrawn(self._expected(job_id, "withdraw"))

    # inside

    def _job(self, owner: str, job_id: str) -> Job:
        job = self._store.find(job_id)
        if job is None or job.order.owner != owner:
            raise no_such_job(job_id)
        return self._caught_up(job)

    def _caught_up(self, job: Job) -> Job:
        """Take over what a training has written since; a full disk does not keep a job from being shown as it was."""
        try:
            return self.runner.states.catch_up(job)
        except sqlite3.Error:
            return self._known(job.id)

    def _known(self, job_id: str) -> Job:
        job = self._store.find(job_id)
        if job is None:
            raise no_such_job(job_id)
        return job

    def _expected(self, job_id: str, stage: str) -> Job:
        job = self._known(job_id)
        if job.stage != stage:
            raise TuningError(409, "wrong_state", f"The job {job_id} is {job.status} ({job.stage}).")
        return job


def _wrong_state(job: Job, done: str, expected: str) -> TuningError:
    publishing = " and being published" if job.stage == "publish" else ""
    return TuningError(
        400, "wrong_state", f"The job {job.id} is {job.status}{publishing}; only {expected} can be {done}.", None
    )


def _number(after: str | None, prefix: str) -> int | None:
    """Read the number in the id of an event or a checkpoint."""
    if after is None:
        return None
    digits = after.removeprefix(prefix)
    if not (after.startswith(prefix) and digits.isascii() and digits.isdigit() and len(digits) < 19):
        raise TuningError(400, "invalid_cursor", f"There is no {after[:100]!r} after which to begin.", "after")
    return int(digits)
