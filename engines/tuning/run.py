"""One training of a job, which may be stopped whatever it is doing."""

from __future__ import annotations

import asyncio

from engines.tuning.child import Child


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
