"""One training process on this machine: below a shim, at the lowest priority, within its memory, alone in its job."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from engines.processes.limited import limited_command
from engines.processes.shim_command import shim_command
from engines.processes.start import start_process
from engines.tuning.child import STOP_SECONDS, Say, environment_of


class LocalChild:
    """A training process that runs, or has ended. Its shim kills it, and all that it has started, with this process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    def __repr__(self) -> str:
        return f"<LocalChild {self._process.pid} [{'runs' if self._process.returncode is None else 'ended'}]>"

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        log: Path,
        say: Say,  # noqa: ARG003 - it begins at once, so there is nothing to tell
        *,
        threads: int,
        memory_bytes: int,
    ) -> LocalChild:
        """Start a command, once nothing runs any more that was started for the same log. Raises ``OSError``."""
        written = await asyncio.to_thread(_locked, log)
        try:
            process = await start_process(
                *shim_command(limited_command(tuple(command), memory_bytes)),
                env={**os.environ, **environment_of(threads)},
                stdin=asyncio.subprocess.PIPE,
                stdout=written,
                stderr=written,
            )
        finally:
            os.close(written)
        return cls(process)

    async def ended(self) -> int:
        """Wait for the end, and return the exit code: 128 and the number of the signal where one has killed it."""
        code = await self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        return code if code >= 0 else 128 - code

    def stop(self, grace: float = STOP_SECONDS) -> None:
        """Ask it to write a checkpoint and end, and kill it after ``grace`` seconds."""
        with suppress(ProcessLookupError):
            self._process.terminate()
        asyncio.get_running_loop().call_later(grace, self.kill)

    def kill(self) -> None:
        """End it with all that it has started: its shim does that when its lifeline is cut. Harmless after its end."""
        if self._process.returncode is None and self._process.stdin is not None:
            self._process.stdin.close()


def _locked(log: Path) -> int:
    """Open a log and lock it; what is started with it as its output holds the lock until its last process has ended."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
