"""One training as a job of a Ray cluster, which is found again by its submission id when the server was killed."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec

from engines.ray.head import Head
from engines.ray.jobs import PENDING, WAITED_TOO_LONG, HeadError, Job, Refused
from engines.tuning.child import Say
from engines.tuning.ray_submission import Submission, SubmissionFile

_STOPPED = 4
"""The exit code of a training that was asked to stop, which Ray does not tell."""

_LOST = 69
"""The exit code (``EX_UNAVAILABLE``) that stands for: Ray could not run the training, or it ended with its node."""

_GONE = Job(status="FAILED", message="Ray knows nothing of the job any more.")

_MOST_TOLD_LINES = 5

_OF_EACH_JOB = (
    "Job entrypoint command failed with exit code",
    "Running entrypoint for job",
    "INFO job_manager.py",
)
"""By what the lines are known that Ray tells of the end of each job: the exit code, the command, how it was started."""


class RayChild:
    """A training on the cluster: submitted, followed by polling, and ended by Ray when it is asked to stop.

    A head that cannot be asked changes nothing: the training goes on, and what is due is done when it answers again.
    ``request`` is the job but for its id. ``say`` is told once where it waits longer than ``patience`` seconds.
    """

    def __init__(self, head: Head, request: Mapping[str, Any], log: Path, say: Say, patience: float) -> None:
        self._head = head
        self._request = request
        self._log = log
        self._say = say
        self._patience = patience
        self._file = SubmissionFile.beside(log)
        self._submission = self._file.read()
        self._stopping = asyncio.Event()
        self._waited_enough: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._following = asyncio.get_running_loop().create_task(self._follow())

    def __repr__(self) -> str:
        state = "ended" if self._following.done() else "stopping" if self._stopping.is_set() else "followed"
        return f"<RayChild {self._submission and self._submission.id} [{state}]>"

    async def ended(self) -> int:
        """Wait for the end, and return the exit code: 128 and the number of the signal where one has killed it."""
        await asyncio.wait((self._following, self._waited_enough), return_when=asyncio.FIRST_COMPLETED)
        if self._following.done():
            return self._following.result()
        await self.leave()
        return _STOPPED

    async def leave(self) -> None:
        """Follow it no longer; it goes on, and is found again."""
        self._following.cancel()
        await asyncio.gather(self._following, return_exceptions=True)

    def stop(self, grace: float | None = None) -> None:
        """Have Ray send SIGTERM, and SIGKILL a minute later; ``ended`` waits ``grace`` seconds, or until it is so.

        What has not ended by then is ended before the training is submitted again.
        """
        if self._following.done():
            return
        self._stopping.set()
        if grace is not None:
            asyncio.get_running_loop().call_later(grace, _release, self._waited_enough)
        if self._submission is not None:
            self._head.to_stop.add(self._submission.id)
            self._note(msgspec.structs.replace(self._submission, stopped=True))

    def kill(self) -> None:
        """Do as ``stop``: Ray has no other way."""
        self.stop()

    async def _follow(self) -> int:
        """Have the training run once, and return its exit code."""
        if self._submission is not None and self._submission.stopped:
            # A stop that another server, or an earlier try, has not seen the end of.
            if await self._until_ended(self._submission) is None:
                return _STOPPED
            self._forget()
        while not self._stopping.is_set():
            try:
                job = await self._until_ended(await self._submitted())
            except Refused as error:
                job = Job(status="FAILED", message=f"Ray refused the job: {error}")
            if job is None:
                return _STOPPED
            if job.error_type != WAITED_TOO_LONG:
                self._tell_why(job)
                self._forget()
                return code_of(job)
            self._forget()
        return _STOPPED

    async def _submitted(self) -> Submission:
        """Submit the training as soon as the head takes it, unless it is there already. Raises ``Refused``."""
        head = self._head
        if self._submission is None:
            self._note(Submission(f"{head.cluster.name}-{self._log.parent.name}-{secrets.token_hex(4)}"))
        while True:
            assert self._submission is not None
            with suppress(HeadError):
                # An answer may have been lost, or the server been killed: one id is never submitted twice.
                if await head.job(self._submission.id) is None and not self._stopping.is_set():
                    await head.submit({**self._request, "submission_id": self._submission.id})
                return self._submission
            await self._pause()

    async def _until_ended(self, submission: Submission) -> Job | None:
        """Wait for the end of a job; ``None`` if it waits for room, and ends by itself as soon as it has found some."""
        if submission.stopped:
            self._head.to_stop.add(submission.id)
        since, told = monotonic(), False
        while True:
            await self._head.stop_unwanted()
            with suppress(HeadError):
                job = await self._head.job(submission.id) or _GONE
                if job.ended:
                    return job
                waits = job.status == PENDING
                if waits and self._stopping.is_set() and submission.id not in self._head.to_stop:
                    return None
                if waits and not told and monotonic() - since >= self._patience:
                    told = True
                    self._say(f"The training waits for the Ray cluster: {job.message or 'Ray says no more.'}")
            await self._pause()

    async def _pause(self) -> None:
        """Wait until the head is asked again, at once where a stop is asked for."""
        if self._stopping.is_set():
            await self._head.pause()
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(self._head.cluster.poll):
                await self._stopping.wait()

    def _note(self, submission: Submission) -> None:
        self._submission = submission
        self._file.write(submission)

    def _forget(self) -> None:
        self._submission = None
        self._file.remove()

    def _tell_why(self, job: Job) -> None:
        """Add what Ray says of the end to the log, where the training itself could not say anything."""
        if job.driver_exit_code == 0 or not (reason := reason_of(job)):
            return
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"Ray: {reason}\n")
        if job.driver_exit_code is None:
            self._say(f"Ray: {reason}")


def code_of(job: Job) -> int:
    """Give the exit code of a job that has ended."""
    if job.status == "STOPPED":
        return _STOPPED
    if job.driver_exit_code is None:
        return 0 if job.status == "SUCCEEDED" else _LOST
    return job.driver_exit_code if job.driver_exit_code >= 0 else 128 - job.driver_exit_code


def reason_of(job: Job) -> str:
    """Give what Ray says of a job's end, without what it says of each; nothing where there is no more."""
    if job.status == "STOPPED":
        return ""
    lines = (job.message or "").strip().splitlines()
    lines = [line for line in lines if not any(known in line for known in _OF_EACH_JOB)]
    return "\n".join(lines[-_MOST_TOLD_LINES:])


def _release(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
