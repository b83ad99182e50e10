"""Runs trainings as jobs of a Ray cluster, and ends those that an earlier server has left and nobody wants."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from engines.ray.cluster import RayCluster
from engines.ray.head import Head
from engines.tuning.child import Say
from engines.tuning.ray_child import RayChild
from engines.tuning.ray_submission import SubmissionFile, request_of

_LOG = logging.getLogger(__name__)

_PATIENCE_SECONDS = 20.0
"""How long a training may wait for room before its owner is told: Ray takes a few seconds to start anything."""


class RayTrainings:
    """Trainings at one cluster, each with ``threads`` CPUs and ``memory_bytes``."""

    def __init__(
        self, cluster: RayCluster, *, threads: int, memory_bytes: int, patience: float = _PATIENCE_SECONDS
    ) -> None:
        self._head = Head(cluster, _log_head)
        self._threads = threads
        self._memory_bytes = memory_bytes
        self._patience = patience
        self._left: dict[Path, RayChild] = {}

    def __repr__(self) -> str:
        return f"<RayTrainings at {self._head!r}>"

    async def start(self, command: Sequence[str], log: Path, say: Say) -> RayChild:
        """Submit a command, or go on with the job that was submitted for this log. Raises ``OSError``."""
        if (left := self._left.pop(log, None)) is not None:
            # The new one waits for the end of the same job, and two would note it twice.
            await left.leave()
        request = request_of(
            command,
            log,
            gateway=self._head.cluster.name,
            threads=self._threads,
            memory_bytes=self._memory_bytes,
        )
        return RayChild(self._head, request, log, say, self._patience)

    def end_left(self, logs: Iterable[Path]) -> None:
        """End what still runs for these logs, as of jobs that were paused or cancelled when a server was killed."""
        for log in logs:
            if not SubmissionFile.beside(log).path.exists():
                continue
            try:
                child = self._left[log] = RayChild(self._head, {}, log, _LOG.info, self._patience)
                child.kill()
            except OSError as error:
                _LOG.error("the training of %s may go on, though it is not wanted any more: %s", log.parent.name, error)
            else:
                _LOG.info("ends the training of %s on the Ray cluster: it is not wanted any more", log.parent.name)

    async def close(self) -> None:
        """Ask the head no more."""
        for child in self._left.values():
            await child.leave()
        await self._head.jobs.close()


def _log_head(trouble: str) -> None:
    if trouble:
        _LOG.warning("the head of the Ray cluster cannot be asked: %s; trainings go on", trouble)
    else:
        _LOG.info("the head of the Ray cluster answers again")
