"""Starts, watches, restarts and stops engines, each replica as a child process listening on a Unix socket.

Every replica lives in a task of its own, so that one which fails or takes minutes to load holds up no other. What a
replica is doing is told to ``on_change`` as a ``ReplicaStatus``, with words for people where something is wrong.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from time import monotonic

from engines import guardian
from engines.base import EngineSpec, Launch, Launcher
from engines.errors import EngineError
from engines.launchers import LAUNCHERS

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
_HEALTHY_SECONDS = 60.0
_POLL_SECONDS = 0.1
_LAST_WORDS = 15
_LONGEST_SOCKET = 107


class State(StrEnum):
    """What a replica is doing."""

    FETCHING = "fetching"
    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """A replica's state, its address (``unix:/…``), and the reason in words where there is one."""

    model: str
    replica: str
    state: State
    address: str
    reason: str = ""


class Preparation:
    """The files of one model, brought once for all of its replicas."""

    def __init__(self, spec: EngineSpec, launcher: Launcher, cache: Path) -> None:
        self.spec = spec
        self.launcher = launcher
        self._cache = cache
        self._lock = asyncio.Lock()
        self._folder: Path | None = None

    async def folder(self, progress: Callable[[str], None]) -> Path:
        """Return the folder with the files, bringing them if that has not succeeded yet. Raises ``EngineError``."""
        async with self._lock:
            if self._folder is None:
                loop = asyncio.get_running_loop()

                def tell(step: str) -> None:
                    loop.call_soon_threadsafe(progress, step)

                self._folder = await asyncio.to_thread(self.launcher.prepare, self.spec, self._cache, tell)
            return self._folder


class SupervisedReplica:
    """One replica and the process that is it."""

    def __init__(
        self, name: str, index: int, preparation: Preparation, folder: Path, on_change: Callable[[ReplicaStatus], None]
    ) -> None:
        self._index = index
        self._preparation = preparation
        self._socket = folder / f"{name}.sock"
        self._log = folder / f"{name}.log"
        self._on_change = on_change
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self.status = ReplicaStatus(preparation.spec.model, name, State.FETCHING, f"unix:{self._socket}")

    def __repr__(self) -> str:
        return f"<SupervisedReplica {self.status.replica!r} [{self.status.state}]>"

    def start(self) -> None:
        """Begin to live."""
        self._task = asyncio.get_running_loop().create_task(self._live())

    async def stop(self, grace: float) -> None:
        """Ask the engine to end, and end it after ``grace`` seconds."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._process is not None:
            await self._end(self._process, grace)
        self._socket.unlink(missing_ok=True)
        self._say(State.STOPPED)

    async def _live(self) -> None:
        """Bring the files, then run the engine again and again, waiting longer each time it fails soon."""
        pause = _FIRST_PAUSE
        while True:
            began = monotonic()
            try:
                folder = await self._preparation.folder(lambda step: self._say(State.FETCHING, step))
                reason = await self._run(folder)
                state = State.RESTARTING
            except EngineError as error:
                reason, state = str(error), State.FAILED
            if monotonic() - began > _HEALTHY_SECONDS:
                pause = _FIRST_PAUSE
            self._say(state, f"{reason} Next try in {pause:g} s.")
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 2)

    async def _run(self, folder: Path) -> str:
        """Run the engine once, until it ends; return why it did."""
        spec = self._preparation.spec
        launch = self._preparation.launcher.launch(spec, folder, self._index, self._socket)
        self._say(State.STARTING)
        process = self._process = await self._spawn(launch)
        try:
            async with asyncio.timeout(spec.startup_timeout):
                ready = await self._becomes_ready(process, launch)
        except TimeoutError:
            await self._end(process, 0.0)
            return f"It was not ready within {spec.startup_timeout:g} s. {self._last_words()}"
        if ready:
            self._say(State.READY)
        code = await process.wait()
        when = "" if ready else " before it was ready"
        return f"It ended with exit code {code}{when}. {self._last_words()}"

    async def _spawn(self, launch: Launch) -> asyncio.subprocess.Process:
        """Start the engine under its guardian, whose lifeline is the pipe to its standard input."""
        if len(os.fsencode(launch.socket)) > _LONGEST_SOCKET:
            raise EngineError(f"The socket's path {launch.socket} is too long; set a shorter TMPDIR.")
        launch.socket.unlink(missing_ok=True)
        with self._log.open("wb") as log:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-S",
                guardian.__file__,
                *launch.command,
                env={**os.environ, **launch.environment},
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def _becomes_ready(self, process: asyncio.subprocess.Process, launch: Launch) -> bool:
        """Ask until the engine says that it is ready; ``False`` if it ends before. No engine offers an event for it."""
        while process.returncode is None:
            if await _answers(launch.socket, launch.ready_path):
                return True
            await asyncio.sleep(_POLL_SECONDS)
        return False

    async def _end(self, process: asyncio.subprocess.Process, grace: float) -> None:
        """Ask a process to end; after ``grace`` seconds, cut its lifeline, and its guardian kills whatever is left."""
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(grace):
                    await process.wait()
            except TimeoutError:
                pass
        if process.stdin is not None:
            process.stdin.close()
        await process.wait()
        self._process = None

    def _last_words(self) -> str:
        """Return the end of the engine's log."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return "Its last words:\n" + "\n".join(lines[-_LAST_WORDS:]) if lines else "It said nothing."

    def _say(self, state: State, reason: str = "") -> None:
        self.status = ReplicaStatus(self.status.model, self.status.replica, state, self.status.address, reason)
        self._on_change(self.status)


class Supervisor:
    """All replicas that are started here. ``folder`` takes sockets and logs, ``cache`` the model files."""

    def __init__(
        self,
        specs: Iterable[EngineSpec],
        *,
        folder: Path,
        cache: Path,
        on_change: Callable[[ReplicaStatus], None],
    ) -> None:
        self._replicas: list[SupervisedReplica] = []
        for spec in specs:
            preparation = Preparation(spec, LAUNCHERS[spec.engine], cache)
            for index, name in enumerate(spec.replicas):
                self._replicas.append(SupervisedReplica(name, index, preparation, folder, on_change))

    def __repr__(self) -> str:
        return f"<Supervisor {self._replicas!r}>"

    @property
    def statuses(self) -> Sequence[ReplicaStatus]:
        """What every replica is doing now."""
        return tuple(replica.status for replica in self._replicas)

    def start(self) -> None:
        """Let every replica begin to live; returns at once."""
        for replica in self._replicas:
            replica.start()

    async def stop(self, grace: float) -> None:
        """Stop all replicas side by side, giving each ``grace`` seconds to end by itself."""
        await asyncio.gather(*(replica.stop(grace) for replica in self._replicas))


async def _answers(socket: Path, path: str) -> bool:
    """Whether a server on ``socket`` answers ``path`` with 200."""
    try:
        reader, writer = await asyncio.open_unix_connection(socket)
    except OSError:
        return False
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
        async with asyncio.timeout(5):
            line = await reader.readline()
        return line.split(b" ")[1:2] == [b"200"]
    except (OSError, TimeoutError):
        return False
    finally:
        writer.close()
