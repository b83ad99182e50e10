"""Starts, watches, restarts and stops engines, each replica as a child process listening on a Unix socket.

Every replica has a task of its own, so that one which fails or takes minutes to load holds up no other. Each change of
state is reported to ``on_change`` as a ``ReplicaStatus``, with a reason for operators where something is wrong.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count
from pathlib import Path
from time import monotonic

from engines.errors import ContentError, EngineError
from engines.files.prepare import Preparation
from engines.launchers import LAUNCHERS
from engines.processes.restart import RestartPolicy, with_next_try
from engines.processes.shim_command import shim_command
from engines.processes.sleep_mode import fall_asleep, wake_up
from engines.processes.start import start_process
from engines.spec import EngineSpec, Launch, Launcher

_RESTARTS = RestartPolicy()
_POLL_SECONDS = 0.1
_LOG_TAIL_LINES = 15
_LOG_TAIL_BYTES = 16 * 1024
_LONGEST_SOCKET = 107

_FALL_ASLEEP_SECONDS = 60.0
"""So long the weights of a large model may take on their way to the memory of the machine."""

_LEAST_WAKE_SECONDS = 10.0
"""So long waking may take at least, however soon the engine once started."""


class State(StrEnum):
    """What a replica is doing. One that is pending waits for room on a cluster; one asleep has given up its GPUs."""

    PENDING = "pending"
    FETCHING = "fetching"
    STARTING = "starting"
    READY = "ready"
    ASLEEP = "asleep"
    RESTARTING = "restarting"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """A replica's state, its address (``unix:/…`` or ``http://…``), and the reason where there is one.

    ``key`` is what requests must carry as bearer token.
    """

    model: str
    replica: str
    state: State
    address: str
    reason: str = ""
    key: str = field(default="", repr=False)


class SupervisedReplica:
    """One replica and the process that is it."""

    def __init__(
        self,
        name: str,
        spec: EngineSpec,
        devices: Sequence[str],
        preparation: Preparation,
        folder: Path,
        on_change: Callable[[ReplicaStatus], None],
        restarts: RestartPolicy,
    ) -> None:
        self._spec = spec
        self._devices = devices
        self._preparation = preparation
        self._socket = folder / f"{_file_name(name)}.sock"
        self._log = folder / f"{_file_name(name)}.log"
        self._on_change = on_change
        self._restarts = restarts
        self._failures = 0
        """How many runs have failed in a row."""
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._start_seconds = 0.0
        """How long the last start took until the engine was ready."""
        self._sleep_level = 0
        """At which level it sleeps; 0 while it is awake."""
        self._waking: asyncio.Task[None] | None = None
        self._not_woken = ""
        """Why it could not be woken, and was ended."""
        self.status = ReplicaStatus(spec.model, name, State.FETCHING, f"unix:{self._socket}")

    def __repr__(self) -> str:
        return f"<SupervisedReplica {self.status.replica!r} [{self.status.state}]>"

    def start(self) -> None:
        """Start the task that keeps the engine running; returns at once."""
        self._task = asyncio.get_running_loop().create_task(self._keep_running())

    async def stop(self, grace: float) -> None:
        """Ask the engine to end, and end it after ``grace`` seconds."""
        tasks = [task for task in (self._task, self._waking) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._process is not None:
            await self._end(self._process, grace)
        self._report(State.STOPPED)

    async def sleep(self, level: int) -> None:
        """Have an engine that is ready give up its GPUs until ``wake``; if it ends meanwhile, it is not started again.

        Raises ``EngineError`` where it does not sleep; then it has to be stopped.
        """
        self._sleep_level = level
        try:
            await fall_asleep(self._socket, level, _FALL_ASLEEP_SECONDS)
            if self._process is None or self._process.returncode is not None:
                raise EngineError("It ended as soon as it was asleep.")
        except EngineError as error:
            self._report(State.FAILED, f"It does not sleep, and is stopped. {error}")
            raise
        self._report(State.ASLEEP, f"sleep level {level}")

    def wake(self) -> None:
        """Begin to wake an engine that sleeps, whose GPUs are its own again. Where that fails, it is started anew."""
        level, self._sleep_level = self._sleep_level, 0
        self._report(State.STARTING, f"waking up from sleep level {level}")
        self._waking = asyncio.get_running_loop().create_task(self._wake(level))

    async def _wake(self, level: int) -> None:
        process = self._process
        assert process is not None
        try:
            # To wait for longer than for a start would be of no use.
            await wake_up(self._socket, level, max(_LEAST_WAKE_SECONDS, self._start_seconds))
        except EngineError as error:
            if process.returncode is None:
                self._not_woken = f"It could not be woken. {error}"
                await self._end(process, 0.0)
        else:
            if process.returncode is None:
                self._report(State.READY)

    async def _keep_running(self) -> None:
        """Fetch the files, then run the engine again and again, with the pauses of the restart policy."""
        while True:
            served = 0.0
            try:
                folder = await self._preparation.folder(lambda step: self._report(State.FETCHING, step))
                reason, served = await self._run(folder)
                state = State.RESTARTING
            except ContentError as error:
                self._report(State.FAILED, str(error))
                return
            except (EngineError, OSError) as error:
                reason, state = str(error), State.FAILED
            if self._sleep_level:
                self._report(State.STOPPED, f"It ended while it was asleep. {reason}")
                return
            self._failures = self._restarts.failures(self._failures, served)
            pause = self._restarts.pause(self._failures)
            self._report(state, with_next_try(reason, pause))
            await asyncio.sleep(pause)

    async def _run(self, folder: Path) -> tuple[str, float]:
        """Run the engine once, until it ends; return why it did, and for how many seconds it had been ready."""
        spec = self._spec
        launch = self._preparation.launcher.launch(spec, folder, self._devices, self._socket)
        self._report(State.STARTING)
        began = monotonic()
        process = self._process = await self._spawn(launch)
        try:
            async with asyncio.timeout(spec.startup_timeout):
                ready = await self._becomes_ready(process, launch)
        except TimeoutError:
            await self._end(process, 0.0)
            return f"It was not ready within {spec.startup_timeout:g} s. {self._log_tail()}", 0.0
        since = monotonic()
        if ready:
            self._start_seconds = since - began
            self._report(State.READY)
        code = await _ended(process)
        if ready:
            why, self._not_woken = self._not_woken or f"It ended with exit code {code}.", ""
            return f"{why} {self._log_tail()}", monotonic() - since
        return f"It ended with exit code {code} before it was ready. {self._log_tail()}", 0.0

    async def _spawn(self, launch: Launch) -> asyncio.subprocess.Process:
        """Start the engine under its shim, whose lifeline is the pipe to its standard input."""
        if len(os.fsencode(self._socket)) > _LONGEST_SOCKET:
            raise EngineError(f"The socket's path {self._socket} is too long; set a shorter TMPDIR.")
        self._socket.unlink(missing_ok=True)
        with self._log.open("wb") as log:
            return await start_process(
                *shim_command(launch.command),
                env={**os.environ, **launch.environment},
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
            )

    async def _becomes_ready(self, process: asyncio.subprocess.Process, launch: Launch) -> bool:
        """Ask until the engine says that it is ready; ``False`` if it ends before. No engine offers an event for it."""
        while process.returncode is None:
            if await _is_ready(self._socket, launch.ready_path):
                return True
            await asyncio.sleep(_POLL_SECONDS)
        return False

    async def _end(self, process: asyncio.subprocess.Process, grace: float) -> None:
        """Ask a process to end; after ``grace`` seconds, cut its lifeline, and its shim kills what is left.

        Its socket goes with it. One at which no process of this replica listened may be another gateway's.
        """
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.terminate()
            with suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await process.wait()
        if process.stdin is not None:
            process.stdin.close()
        await _ended(process)
        self._process = None
        self._socket.unlink(missing_ok=True)

    def _log_tail(self) -> str:
        """Return the end of the engine's log."""
        with self._log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
            lines = log.read().decode(errors="replace").strip().splitlines()
        return "Its last words:\n" + "\n".join(lines[-_LOG_TAIL_LINES:]) if lines else "It said nothing."

    def _report(self, state: State, reason: str = "") -> None:
        self.status = ReplicaStatus(self.status.model, self.status.replica, state, self.status.address, reason)
        self._on_change(self.status)


class Supervisor:
    """All replicas that are started here, which may be more or fewer as time goes by.

    ``folder`` takes sockets and logs, ``cache`` the model files. ``restarts`` says when an engine that failed is
    started again.
    """

    def __init__(
        self,
        *,
        folder: Path,
        cache: Path,
        on_change: Callable[[ReplicaStatus], None],
        launchers: Mapping[str, Launcher] = LAUNCHERS,
        restarts: RestartPolicy = _RESTARTS,
    ) -> None:
        self._folder = folder
        self._cache = cache
        self._on_change = on_change
        self._launchers = launchers
        self._restarts = restarts
        self._preparations: dict[str, Preparation] = {}
        """That of each model, as it was wanted last."""
        self._replicas: dict[str, SupervisedReplica] = {}
        self._started = False

    def __repr__(self) -> str:
        return f"<Supervisor {list(self._replicas.values())!r}>"

    @property
    def statuses(self) -> Sequence[ReplicaStatus]:
        """What every replica is doing now."""
        return tuple(replica.status for replica in self._replicas.values())

    def folder_of(self, model: str) -> Path | None:
        """Give the folder with a model's files; ``None`` if they are not here yet, or the engine fetches them."""
        preparation = self._preparations.get(model)
        folder = None if preparation is None else preparation.brought
        return folder if folder is not None and folder.is_dir() else None

    def add(self, spec: EngineSpec, devices: Sequence[str] = ()) -> ReplicaStatus:
        """Let there be one more replica, on these GPUs: now, or from ``start`` on.

        It is called after its model, with the first number from 0 that no other here has.
        """
        name = next(name for number in count() if (name := f"{spec.model}-{number}") not in self._replicas)
        preparation = self._preparations.get(spec.model)
        if preparation is None or preparation.spec != spec:
            preparation = Preparation(spec, self._launchers[spec.engine], self._cache)
            self._preparations[spec.model] = preparation
        replica = SupervisedReplica(name, spec, devices, preparation, self._folder, self._on_change, self._restarts)
        self._replicas[name] = replica
        if self._started:
            replica.start()
        return replica.status

    async def sleep(self, name: str, level: int) -> None:
        """Have a replica that is ready give up its GPUs. Raises ``EngineError`` if it does not; then it must go."""
        await self._replicas[name].sleep(level)

    def wake(self, name: str) -> None:
        """Begin to wake a replica that sleeps; where that fails it is started anew. Returns at once."""
        self._replicas[name].wake()

    async def remove(self, name: str, grace: float) -> None:
        """Stop a replica, giving it ``grace`` seconds to end by itself, and forget it then."""
        await self._replicas[name].stop(grace)
        del self._replicas[name]

    def start(self) -> None:
        """Start every replica, and from now on each that is added; returns at once."""
        self._started = True
        for replica in self._replicas.values():
            replica.start()

    async def stop(self, grace: float) -> None:
        """Stop all replicas side by side, giving each ``grace`` seconds to end by itself."""
        await asyncio.gather(*(replica.stop(grace) for replica in self._replicas.values()))


def _file_name(replica: str) -> str:
    """Name a replica's files after it; where its name is long or no name of a file, a digest keeps it apart."""
    plain = re.sub(r"[^A-Za-z0-9._@-]", "_", replica)
    if plain == replica and len(plain) <= 60:
        return plain
    return f"{plain[:40]}-{hashlib.sha256(replica.encode()).hexdigest()[:8]}"


async def _ended(process: asyncio.subprocess.Process) -> int:
    """Wait for a shim's end and return its exit code."""
    code = await process.wait()
    if code < 0:  # It was killed itself, and what it guarded is still in its process group.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return code


async def _is_ready(socket: Path, path: str) -> bool:
    """Whether a server on ``socket`` responds to ``path`` with 200."""
    try:
        reader, writer = await asyncio.open_unix_connection(socket)
    except OSError:
        return False
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
        async with asyncio.timeout(5):
            line = await reader.readline()
        return line.split(b" ")[1:2] == [b"200"]
    except (OSError, TimeoutError, ValueError):  # A line without end is a ``ValueError``.
        return False
    finally:
        writer.close()
