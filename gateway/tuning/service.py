"""Fine-tuning in the gateway's main process: the tuning server's process, and the publishing of what it makes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from engines.spec import EngineSpec, FolderSource
from engines.supervisor import ReplicaStatus, State, Supervisor
from engines.tuning.launcher import MODEL, TuningServer
from engines.tuning.records import TRAIN
from gateway.config.schema import Config
from gateway.core.tasks import cancelled
from gateway.files.store import FileCounts, FileStore
from gateway.tuning.bases import settings_of
from gateway.tuning.claim import FolderClaim
from gateway.tuning.client import TuningClient, models_folder
from gateway.tuning.job_tally import JobTally
from gateway.tuning.published import PublishedModels
from gateway.tuning.publisher import Publisher, Refused, Serving

_LOOK_SECONDS = 5.0
"""How often it is looked whether the gateway has ended that the folder belongs to."""

_GRACE = 10.0
"""Seconds that the server gets to end, in which trainings write their checkpoints."""


class TuningService:
    """Starts the tuning server as soon as there is something to tune, and does what its jobs need of the gateway.

    ``say`` tells people. ``train`` is the command that runs one job. Where the tuning folder belongs to another
    gateway, nothing is tuned, and none of its models is served, until that one has ended.
    """

    def __init__(self, config: Config, say: Callable[[str], None], train: Sequence[str] = TRAIN) -> None:
        self._say = say
        self._client = TuningClient(config)
        self._jobs = JobTally(self._client)
        self._claim = FolderClaim(self._client.folder)
        self.published = PublishedModels(models_folder(self._client.folder))
        self._owns = self._client.wanted and self._claim.take()
        """Whether the folder is this gateway's, and what was published there is known."""
        if self._owns:
            self.published.read()
        self._files = FileStore(config.gateway.files, FileCounts())
        settings = settings_of(config, train)
        self._supervisor = Supervisor(
            folder=Path(settings.folder),
            cache=Path(settings.cache),
            on_change=self._changed,
            launchers={MODEL: TuningServer(settings)},
        )
        self._publisher: Publisher | None = None
        self._serving: Serving | None = None
        self._taking_over: asyncio.Task[None] | None = None
        """Waits for the folder, where it was not to be had or not wanted at the start."""
        self._tasks: list[asyncio.Task[None]] = []
        """What is done while a server of this gateway runs."""
        self._started = False

    def __repr__(self) -> str:
        return f"<TuningService {self._supervisor!r} {self.published!r}>"

    def serve_with(self, serving: Serving) -> None:
        """Say what publishing has the gateway do; called before ``start``."""
        self._serving = serving
        self._publisher = Publisher(self._client, self.published, self._files, serving, self._say)

    def start(self) -> None:
        """Start the server, if there is something for it; returns at once."""
        self._started = True
        self._look()

    def follow(self, config: Config) -> None:
        """Go by another configuration from now on."""
        self._client.follow(config)
        self._look()
        for trouble in self.published.new_troubles():
            self._say(trouble)

    def jobs(self) -> JobTally | None:
        """Count the jobs, if there is something to tune."""
        return self._jobs if self._client.wanted else None

    def note(self, status: ReplicaStatus) -> None:
        """Hear what becomes of an engine, which may be that of a model that is being published."""
        if self._publisher is not None:
            trouble = status.reason if status.state in (State.RESTARTING, State.FAILED) else ""
            self._publisher.note(status.model, trouble)

    def wake(self) -> None:
        """Look again whether a model is ready."""
        if self._publisher is not None:
            self._publisher.note("")

    async def stop(self) -> None:
        """Stop the server and its jobs, which go on when it starts again; harmless before the start."""
        await cancelled([*self._tasks, *filter(None, [self._taking_over])])
        await self._supervisor.stop(_GRACE)
        self._claim.release()
        await self._files.stop()

    def _look(self) -> None:
        if not self._started or self._supervisor.statuses or not self._client.wanted:
            return
        if not self._owns:
            if self._taking_over is None:
                self._taking_over = asyncio.get_running_loop().create_task(self._take_over())
            return
        folder = FolderSource(self._client.folder)
        self._supervisor.add(EngineSpec(model=MODEL, engine=MODEL, source=folder, startup_timeout=60.0))
        self._supervisor.start()

    async def _take_over(self) -> None:
        """Take the folder with its jobs and models, as soon as no other gateway has it."""
        assert self._serving is not None
        folder = self._client.folder
        if not self._claim.take():
            self._say(
                f"the tuning folder {folder} is another gateway's: until that one ends, fine-tuning is refused here "
                "and its models are not served; set gateway.tuning.folder"
            )
            while not self._claim.take():  # noqa: ASYNC110 - a lock tells nobody that it is free
                await asyncio.sleep(_LOOK_SECONDS)
            self._say(f"the tuning folder {folder} is this gateway's now")
        self._owns = True
        self.published.read()
        try:
            self._serving.apply()
        except Refused as error:
            self._say(f"the fine-tuned models are not served: {error}")
        self._look()

    def _changed(self, status: ReplicaStatus) -> None:
        """Publish and count while a server of this gateway runs; one of another's is not asked."""
        if status.state is State.READY:
            assert self._publisher is not None
            loop = asyncio.get_running_loop()
            self._tasks = [loop.create_task(self._publisher.run()), loop.create_task(self._jobs.run())]
        else:
            for task in self._tasks:
                task.cancel()
        if status.reason and status.state in (State.FAILED, State.RESTARTING):
            self._say(f"the tuning server: {status.reason}")
