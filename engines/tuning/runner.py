"""Runs the jobs: as many at a time as there is room for, each until it has a result, has failed, or is stopped."""

from __future__ import annotations

import asyncio
import logging
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from time import time
from typing import Literal

from engines.errors import EngineError
from engines.processes.restart import RestartPolicy
from engines.tuning.child import Child, StartChild
from engines.tuning.following import take_over
from engines.tuning.job_folder import JobFolder
from engines.tuning.records import Event, Job, JobError, Kind, Task, TuningSettings
from engines.tuning.store import Store
from engines.tuning.weights import bring

_LOG = logging.getLogger(__name__)

MOST_DEATHS = 3
"""A training that has ended so often in a row, unasked and without a new checkpoint in between, is given up."""

_FINISHED, _REFUSED, _STOPPED = 0, 3, 4
"""Exit codes of a training; with any other it has died."""

_RESTARTS = RestartPolicy()

_STOP_SECONDS = 8.0
"""How long trainings may take to write a checkpoint when the server ends, which itself has ten seconds."""

Check = Callable[[Kind, Path, Path | None], JobError | None]
"""Says why a job's files cannot be trained on. Blocks."""


class Runner:
    """The jobs that are under way, over the ``store`` of all jobs.

    ``check`` looks at the examples first, ``start_child`` starts a training. ``changed`` is called whenever a job has
    become another, so that there may be something for the gateway to do or to count.
    """

    def __init__(
        self,
        store: Store,
        settings: TuningSettings,
        check: Check,
        start_child: StartChild,
        changed: Callable[[], None],
        restarts: RestartPolicy = _RESTARTS,
    ) -> None:
        self._store = store
        self._settings = settings
        self._check = check
        self._start_child = start_child
        self._changed = changed
        self._restarts = restarts
        self._jobs = Path(settings.folder) / "jobs"
        self._runs: dict[str, Run] = {}
        self._preparing: dict[str, asyncio.Task[None]] = {}
        self._ending = False

    def __repr__(self) -> str:
        return f"<Runner [{len(self._runs)} training, {len(self._preparing)} being prepared]>"

    # from the start of the server to its end

    def start(self) -> None:
        """Go on with every job that is not done, and remove what a crash has left of jobs that never began."""
        self._jobs.mkdir(parents=True, exist_ok=True, mode=0o700)
        known = self._store.ids()
        for left in [each for each in self._jobs.iterdir() if each.name not in known]:
            shutil.rmtree(left, ignore_errors=True)
        for job in self._store.unfinished():
            if job.status == "validating_files":
                self._prepare(job.id)
        self.look()

    async def stop(self) -> None:
        """Let every training write a checkpoint and end; they go on when a server starts again."""
        self._ending = True
        for run in self._runs.values():
            run.stop(_STOP_SECONDS)
        tasks = [run.task for run in self._runs.values() if run.task is not None]
        for preparing in self._preparing.values():
            preparing.cancel()
        await asyncio.gather(*tasks, *self._preparing.values(), return_exceptions=True)

    def folder_of(self, job_id: str) -> JobFolder:
        """Give the folder of a job."""
        return JobFolder(self._jobs / job_id)

    # orders

    async def add(self, job: Job) -> None:
        """Take a job whose files are there. Raises ``OSError``, and leaves nothing, where they cannot be kept."""
        folder, order = self.folder_of(job.id), job.order
        validation = None if order.validation_file is None else order.validation_file.path
        try:
            await asyncio.to_thread(folder.take_files, order.training_file.path, validation)
            files = [each.id for each in (order.training_file, order.validation_file) if each is not None]
            self._store.add(
                job, _said(f"Created fine-tuning job: {job.id}"), _said(f"Validating files: {', '.join(files)}")
            )
        except BaseException:
            shutil.rmtree(folder.path, ignore_errors=True)
            raise
        self._changed()
        self._prepare(job.id)

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

    def pause(self, job: Job) -> None:
        """Stop a job where it is, until it is resumed."""
        job.status = "paused"
        self._save(job, _said("The job has been paused."))
        self._stop(job.id)

    def resume(self, job: Job) -> None:
        """Let a paused job go on when there is room."""
        job.status = "queued"
        self._save(job, _said("The job has been resumed."))
        self.look()

    def cancel(self, job: Job) -> None:
        """End a job for good; where its model is being published, that is withdrawn."""
        job.status, job.finished_at = "cancelled", int(time())
        job.stage = "withdraw" if job.stage == "publish" else "done"
        self._save(job, _said("The job has been cancelled."))
        if job.id in self._runs:
            self._runs[job.id].kill()
        elif job.stage == "done" and job.id not in self._preparing:
            self.folder_of(job.id).tidy()

    # what the gateway does

    def task(self) -> Task | None:
        """Give the oldest thing that the gateway is to do. What can wait for a training comes last."""
        for job in self._store.unfinished():
            if job.stage in ("publish", "withdraw"):
                return self._task(job.stage, job)
        for job_id, run in self._runs.items():
            job = self._found(job_id)
            if job.order.kind == "lora" and job.status == "running" and not run.warmed_up:
                return self._task("warm_up", job)
        return None

    def warmed_up(self, job: Job) -> None:
        """Note that the gateway has asked the base of an adapter, or could not."""
        if job.id in self._runs:
            self._runs[job.id].warmed_up = True

    def published(self, job: Job, result_files: list[str]) -> None:
        """Note that the gateway serves the model of a job."""
        job.status, job.stage, job.finished_at = "succeeded", "done", int(time())
        job.result_files = result_files
        self._save(job, _said(f"New fine-tuned model created: {job.name}"), _said("The job has successfully completed"))
        folder = self.folder_of(job.id)
        folder.tidy(keep=[folder.result])

    def fail(self, job: Job, error: JobError) -> None:
        """Give a job up."""
        job.status, job.stage, job.finished_at, job.error = "failed", "done", int(time()), error
        self._save(job, Event(time(), f"The job failed: {error.message}", "error"))
        self.folder_of(job.id).tidy()

    def withdrawn(self, job: Job) -> None:
        """Note that the gateway serves the model of a job no longer."""
        job.stage, job.deleted = "done", True
        self._save(job, _said(f"The model {job.name} is served no longer."))
        self.folder_of(job.id).tidy()

    def delete(self, job: Job) -> None:
        """Have the gateway withdraw a model that it serves."""
        job.stage = "withdraw"
        self._save(job)

    # inside

    def look(self) -> None:
        """Start what there is room for, those first that have begun before."""
        waiting = [job for job in self._store.unfinished() if job.training and job.id not in self._runs]
        for job in sorted(waiting, key=lambda job: job.status != "running"):
            if self._ending or len(self._runs) >= self._settings.jobs:
                return
            run = self._runs[job.id] = Run()
            run.task = asyncio.get_running_loop().create_task(self._train(job.id, run))

    def _task(self, do: Literal["warm_up", "publish", "withdraw"], job: Job) -> Task:
        order, folder = job.order, self.folder_of(job.id)
        return Task(do, job.id, job.name, order.base, order.kind, order.owner, str(folder.path))

    def _stop(self, job_id: str) -> None:
        if job_id in self._runs:
            self._runs[job_id].stop()

    def _prepare(self, job_id: str) -> None:
        task = asyncio.get_running_loop().create_task(self._make_ready(job_id))
        self._preparing[job_id] = task
        task.add_done_callback(lambda _: self._preparing.pop(job_id, None))

    async def _make_ready(self, job_id: str) -> None:
        """Look at a job's files, bring its weights, and queue it; or give it up."""
        job = self._found(job_id)
        folder, order = self.folder_of(job_id), job.order
        validation = None if order.validation_file is None else folder.validation
        try:
            error = await asyncio.to_thread(self._check, order.kind, folder.training, validation)
            if error is None:
                cache = Path(self._settings.cache)
                weights = await asyncio.to_thread(bring, order.base, order.kind, order.weights, cache, _LOG.info)
                await asyncio.to_thread(folder.write_job, job, weights, self._settings)
        except EngineError as cause:
            error = JobError("weights_not_available", str(cause), "model")
        except (OSError, sqlite3.Error) as cause:
            error = JobError("storage_failed", f"The job could not be prepared: {cause}.")
        job = self._found(job_id)
        if job.status != "validating_files":
            folder.tidy()
        elif error is not None:
            self.fail(job, error)
        else:
            job.status = "queued"
            self._save(job, _said("Files validated, moving job to queued state"))
            self.look()

    async def _train(self, job_id: str, run: Run) -> None:
        """Train a job until it is no more for this server to train, and let the next one begin."""
        try:
            while self._found(job_id).training and not self._ending:
                code = await self._train_once(job_id, run)
                if code is None or run.stopped or not self._goes_on(job_id, code):
                    break
                await run.pause(self._restarts.pause(self._found(job_id).deaths or 1))
        except (OSError, sqlite3.Error) as cause:
            # A full disk, above all: what is written down of the job still holds, and it goes on from there.
            _LOG.error("the job %s waits, because it cannot be run now: %s", job_id, cause)
            await run.pause(self._restarts.longest)
        finally:
            del self._runs[job_id]
            if self._found(job_id).stage == "done":
                self.folder_of(job_id).tidy()
            self.look()

    async def _train_once(self, job_id: str, run: Run) -> int | None:
        """Start the training, and return its exit code; ``None`` where there is a result already."""
        folder, job = self.folder_of(job_id), self._found(job_id)
        if folder.result.is_dir():
            # It was complete when the job was paused, or the server was killed.
            self._trained(self.catch_up(job))
            return None
        if job.status != "running":
            job.status = "running"
            self._save(job, _said("Fine-tuning job started"))
        command = [*self._settings.train, str(folder.path)]
        run.child = await self._start_child(command, folder.log, lambda message: self._tell(job_id, message))
        if run.stopped:
            # Asked for while it was being started.
            run.child.kill()
        return await run.child.ended()

    def _tell(self, job_id: str, message: str) -> None:
        """Add to what has happened to a job."""
        self._store.save(self._found(job_id), _said(message))

    def _goes_on(self, job_id: str, code: int) -> bool:
        """Decide what follows the end of a training; return whether it is started again."""
        job = self.catch_up(self._found(job_id))
        if not job.training:
            return False
        folder = self.folder_of(job_id)
        if code == _FINISHED and folder.result.is_dir():
            self._trained(job)
        elif code == _REFUSED:
            self.fail(job, folder.error())
        else:
            return self._died(job, code, folder)
        return False

    def _trained(self, job: Job) -> None:
        job.stage, job.status = "publish", "running"
        self._save(job, _said("The training is complete; the model is being published."))

    def _died(self, job: Job, code: int, folder: JobFolder) -> bool:
        """Count a training that ended unasked, and tell whether it is worth another try."""
        job.deaths += 1
        if job.deaths >= MOST_DEATHS:
            reason = (
                f"The training has ended unasked {job.deaths} times in a row without getting any further, now with "
                f"exit code {code}. {folder.last_words()}"
            )
            self.fail(job, JobError("training_failed", reason))
            return False
        told = f"The training ended unasked with exit code {code}; it goes on from its last checkpoint."
        self._store.save(job, Event(time(), told, "warn"))
        return True

    def _save(self, job: Job, *events: Event) -> None:
        """Write down what a job has become, and let those look who wait for it."""
        self._store.save(job, *events)
        self._changed()

    def _found(self, job_id: str) -> Job:
        job = self._store.find(job_id)
        assert job is not None
        return job


class Run:
    """The training of one job while this server does it: one process after the other, with pauses in between."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.child: Child | None = None
        self.stopped = False
        self.warmed_up = False
        """Whether the base of an adapter has been asked since this began, so that its engine is warm."""
        self._woken = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Run {self.child!r}{' [stopped]' if self.stopped else ''}>"

    def stop(self, grace: float | None = None) -> None:
        """Ask the training to write a checkpoint and end."""
        self.stopped = True
        self._woken.set()
        if self.child is not None:
            self.child.stop() if grace is None else self.child.stop(grace)

    def kill(self) -> None:
        """End the training."""
        self.stopped = True
        self._woken.set()
        if self.child is not None:
            self.child.kill()

    async def pause(self, seconds: float) -> None:
        """Wait so long, unless it is stopped meanwhile."""
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return


def _said(message: str) -> Event:
    return Event(time(), message)
