"""The head of a Ray cluster, as all replicas of a gateway ask it."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from engines.ray.cluster import RayCluster
from engines.ray.jobs import HeadError, Job, Jobs

_Answer = TypeVar("_Answer")


class Head:
    """The cluster as all replicas ask it: one line is said when its head cannot be asked any more, one when it can."""

    def __init__(self, cluster: RayCluster, on_head: Callable[[str], None]) -> None:
        self.cluster = cluster
        self.jobs = Jobs(cluster.url, cluster.token)
        self.instance = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        """This gateway, as its jobs name it."""
        self.to_stop: set[str] = set()
        """Jobs that nobody wants and that are not stopped yet."""
        self._on_head = on_head
        self._trouble: str | None = None

    def __repr__(self) -> str:
        return f"<Head at {self.cluster.url} [{self._trouble or 'well'}]>"

    async def job(self, submission_id: str) -> Job | None:
        """Give a job; ``None`` if there is no such one. Raises ``HeadError``."""
        return await self._heard(self.jobs.job(submission_id))

    async def all(self) -> list[Job]:
        """Give all jobs of the cluster. Raises ``HeadError``."""
        return await self._heard(self.jobs.all())

    async def submit(self, job: Mapping[str, Any]) -> None:
        """Submit a job. Raises ``HeadError`` or ``Refused``."""
        await self._heard(self.jobs.submit(job))

    async def stop_unwanted(self) -> None:
        """Stop the jobs that nobody wants; what cannot be stopped now is kept for the next time."""
        for submission_id in sorted(self.to_stop):
            try:
                await self._heard(self.jobs.stop(submission_id))
            except HeadError:
                return
            self.to_stop.discard(submission_id)

    async def pause(self) -> None:
        """Wait until the head is asked again."""
        await asyncio.sleep(self.cluster.poll)

    async def _heard(self, asked: Awaitable[_Answer]) -> _Answer:
        try:
            answer = await asked
        except HeadError as error:
            self._tell(str(error))
            raise
        self._tell("")
        return answer

    def _tell(self, trouble: str) -> None:
        if trouble != self._trouble:
            was_well = not self._trouble
            self._trouble = trouble
            if bool(trouble) is was_well:
                self._on_head(trouble)
