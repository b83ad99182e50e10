"""Brings the files of a model on a thread, and never twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from threading import Thread

from engines.errors import ContentError
from engines.spec import EngineSpec, Launcher


class Preparation:
    """The files of one model, brought once for all of its replicas."""

    def __init__(self, spec: EngineSpec, launcher: Launcher, cache: Path) -> None:
        self.spec = spec
        self.launcher = launcher
        self._cache = cache
        self._lock = asyncio.Lock()
        self._folder: Path | None = None
        self._useless: ContentError | None = None

    @property
    def brought(self) -> Path | None:
        """The folder, once the files are there."""
        return self._folder

    async def folder(self, progress: Callable[[str], None]) -> Path:
        """Return the folder with the files, bringing them if that has not succeeded yet.

        Raises ``EngineError``; a ``ContentError`` is final, so that no file is fetched again to be refused again.
        """
        async with self._lock:
            if self._useless is not None:
                raise self._useless
            if self._folder is None:
                try:
                    self._folder = await self._bring(progress)
                except ContentError as error:
                    self._useless = error
                    raise
            return self._folder

    async def _bring(self, progress: Callable[[str], None]) -> Path:
        """Prepare on a daemon thread, so that a long download does not delay the end of the process."""
        loop = asyncio.get_running_loop()
        brought: Future[Path] = Future()
        brought.set_running_or_notify_cancel()
        awaited = True

        def tell(step: str) -> None:
            loop.call_soon_threadsafe(lambda: progress(step) if awaited else None)

        def bring() -> None:
            try:
                brought.set_result(self.launcher.prepare(self.spec, self._cache, tell))
            except BaseException as error:  # noqa: BLE001 - It is raised where the files are awaited.
                brought.set_exception(error)

        Thread(target=bring, name=f"prepare {self.spec.model}", daemon=True).start()
        try:
            return await asyncio.wrap_future(brought)
        finally:
            awaited = False
