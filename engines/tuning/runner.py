"""Runs the jobs: as many at a time as there is room for, each until it has a result, has failed, or is stopped."""

from __future__ import annotations

import asyncio
import logging
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from engines.processes.restart import RestartPolicy
from engines.tuning.child import StartChild
from engines.tuning.job_states import JobStates
from engines.tuning.preparations import Check, Preparations
from engines.tuning.records import Job, JobError, Task, TuningSettings
from engines.tuning.run import Run
from engines.tuning.store import Store

_LOG = logging.getLogger(__name__)

MOST_DEATHS = 3
"""A training that has ended so often in a row, unasked and without a new checkpoint in between, is given up."""

_FINISHED, _REFUSED = 0, 3
"""Exit codes of a training that was not stopped; with any other it has died."""

_RESTARTS = RestartPolicy()

_STOP_SECONDS = 8.0
"""How long trainings may take to write a checkpoint when the server ends, which itself has ten seconds."""


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
        self._start_child = start_child
        self._restarts = restarts
        self.states = JobStates(store, Path(settings.folder) / "jobs", changed)
        """What has become of each job."""
        self._preparations = Preparations(self.states, settings, check, self.look)
        self._runs: dict[str, Run] = {}
        self._ending = False

    def __repr__(self) -> str:
        return f"<Runner [{len(self._runs)} training] {self._preparations!r}>"

    # from the start of the server to its end

    def start(self) -> None:
        """Go on with every job that is not done, and remove what a crash has left of jobs that never began."""
        self.states.remove_left()
        for job in self._store.unfinished():
            if job.status == "validating_files":
                self._preparations.begin(job.id)
        self.look()

    async def stop(self) -> None:
        """Let every training write a checkpoint and end; they go on when a server starts again."""
        self._ending = True
        for run in self._runs.values():
            run.stop(_STOP_SECONDS)
        tasks = [run.task for run in self._runs.values() if run.task is not None]
        await asyncio.gather(*tasks, self._preparations.stop(), return_exceptions=True)

    # orders

    async def add(self, job: Job) -> None:
        """Take a job whose files are there. Raises ``OSError``, and leaves nothing, where they cannot be kept."""
        folder, order = self.states.folder_of(job.id), job.order
        validation = None if order.validation_file is None else order.validation_file.path
        try:
            await asyncio.to_thread(folder.take_files, order.training_file.path, validation)
            files = [each.id for each in (order.training_file, order.validation_file) if each is not None]
            self.states.created(job, files)
        except BaseException:
            shutil.rmtree(folder.path, ignore_errors=True)
            raise
        self._preparations.begin(job.id)

    def pause(self, job: Job) -> None:
        """Stop a job where it is, until it is resumed."""
        self.states.paused(job)
        if job.id in self._runs:
            self._runs[job.id].stop()

    def resume(self, job: Job) -> None:
        """Let a paused job go on when there is room."""
        self.states.resumed(job)
        self.look()

    def cancel(self, job: Job) -> None:
        """End a job for good; where its model is being published, that is withdrawn."""
        self.states.cancelled(job)
        if job.id in self._runs:
            self._runs[job.id].kill()
        elif job.stage == "done" and job.id not in self._preparations:
            self.states.folder_of(job.id).tidy()

    # what the gateway does

    def task(self) -> Task | None:
        """Give the oldest thing that the gateway is to do. What can wait for a training comes last."""
        for job in self._store.unfinished():
            if job.stage in ("publish", "withdraw"):
                return self._task(job.stage, job)
        for job_id, run in self._runs.items():
            job = self.states.find(job_id)
            if job.order.kind == "lora" and job.status == "running" and not run.warmed_up:
                return self._task("warm_up", job)
        return None

    def warmed_up(self, job: Job) -> None:
        """Note that the gateway has asked the base of an adapter, or could not."""
        if job.id in self._runs:
            self._runs[job.id].warmed_up = True

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
        order, folder = job.order, self.states.folder_of(job.id)
        return Task(do, job.id, job.name, order.base, order.kind, order.owner, str(folder.path))

    async def _train(self, job_id: str, run: Run) -> None:
        """Train a job until it is no more for this server to train, and let the next one begin."""
        try:
            while self.states.find(job_id).training and not self._ending:
                code = await self._train_once(job_id, run)
                if code is None or run.stopped or not self._goes_on(job_id, code):
                    break
                await run.pause(self._restarts.pause(self.states.find(job_id).deaths or 1))
        except (OSError, sqlite3.Error) as cause:
            # A full disk, above all: what is written down of the job still holds, and it goes on from there.
            _LOG.error("the job %s waits, because it cannot be run now: %s", job_id, cause)
            await run.pause(self._restarts.longest)
        finally:
            del self._runs[job_id]
            if self.states.find(job_id).stage == "done":
                self.states.folder_of(job_id).tidy()
            self.look()

    async def _train_once(self, job_id: str, run: Run) -> int | None:
        """Start the training, and return its exit code; ``None`` where there is a result already."""
        folder, job = self.states.folder_of(job_id), self.states.find(job_id)
        if folder.result.is_dir():
            # It was complete when the job was paused, or the server was killed.
            self.states.trained(self.states.catch_up(job))
            return None
        if job.status != "running":
            self.states.started(job)
        command = [*self._settings.train, str(folder.path)]
        run.child = await self._start_child(command, folder.log, lambda message: self._tell(job_id, message))
        if run.stopped:
            # Asked for while it was being started.
            run.child.kill()
        return await run.child.ended()

    def _tell(self, job_id: str, message: str) -> None:
        """Add to what has happened to a job, whatever it has become meanwhile."""
        self.states.say(self.states.find(job_id), message)

    def _goes_on(self, job_id: str, code: int) -> bool:
        """Decide what follows the end of a training; return whether it is started again."""
        job = self.states.catch_up(self.states.find(job_id))
        if not job.training:
            return False
        folder = self.states.folder_of(job_id)
        if code == _FINISHED and folder.result.is_dir():
            self.states.trained(job)
        elif code == _REFUSED:
            self.states.failed(job, folder.error())
        else:
            return self._died(job, code)
        return False

    def _died(self, job: Job, code: int) -> bool:
        """Count a training that ended unasked, and tell whether it is worth another try."""
        job.deaths += 1
        if job.deaths >= MOST_DEATHS:
            reason = (
                f"The training has ended unasked {job.deaths} times in a row without getting any further, now with "
                f"exit code {code}. {self.states.folder_of(job.id).last_words()}"
            )
            self.states.failed(job, JobError("training_failed", reason))
            return False
        told = f"The training ended unasked with exit code {code}; it goes on from its last checkpoint."
        self.states.say(job, told, "warn")
        return True
