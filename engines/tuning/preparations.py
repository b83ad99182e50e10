"""What a job needs before it can be trained: examples that were looked at, and the weights of its base."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path

from engines.errors import EngineError
from engines.tuning.job_states import JobStates
from engines.tuning.records import JobError, Kind, TuningSettings
from engines.tuning.weights import bring

_LOG = logging.getLogger(__name__)

Check = Callable[[Kind, Path, Path | None], JobError | None]
"""Says why a job's files cannot be trained on. Blocks."""


class Preparations:
    """The jobs that are being prepared, each on its own.

    ``check`` looks at the examples first. ``queued`` is called when one more job can be trained.
    """

    def __init__(self, states: JobStates, settings: TuningSettings, check: Check, queued: Callable[[], None]) -> None:
        self._states = states
        self._settings = settings
        self._check = check
        self._queued = queued
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def __repr__(self) -> str:
        return f"<Preparations [{len(self._tasks)} under way]>"

    def __contains__(self, job_id: str) -> bool:
        """Whether a job is being prepared."""
        return job_id in self._tasks

    def begin(self, job_id: str) -> None:
        """Prepare a job: it is queued then, or given up."""
        task = asyncio.get_running_loop().create_task(self._prepare(job_id))
        self._tasks[job_id] = task
        task.add_done_callback(lambda _: self._tasks.pop(job_id, None))

    async def stop(self) -> None:
        """Prepare nothing more; what was begun is begun anew when a server starts again."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _prepare(self, job_id: str) -> None:
        error = await self._trouble(job_id)
        job = self._states.find(job_id)
        if job.status != "validating_files":
            self._states.folder_of(job_id).tidy()
        elif error is not None:
            self._states.failed(job, error)
        else:
            self._states.queued(job)
            self._queued()

    async def _trouble(self, job_id: str) -> JobError | None:
        """Look at a job's files and bring its weights; return what keeps it from being trained, if anything does."""
        job, folder = self._states.find(job_id), self._states.folder_of(job_id)
        order, cache = job.order, Path(self._settings.cache)
        validation = None if order.validation_file is None else folder.validation
        try:
            error = await asyncio.to_thread(self._check, order.kind, folder.training, validation)
            if error is None:
                weights = await asyncio.to_thread(bring, order.base, order.kind, order.weights, cache, _LOG.info)
                await asyncio.to_thread(folder.write_job, job, weights, self._settings)
        except EngineError as cause:
            return JobError("weights_not_available", str(cause), "model")
        except (OSError, sqlite3.Error) as cause:
            return JobError("storage_failed", f"The job could not be prepared: {cause}.")
        return error
