"""Starts the processes of a benchmark, waits until they serve, and stops them; nothing else in the benchmark does."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO

from loadtest.bench import process_usage
from loadtest.bench.cpu_affinity import pinned_to

ROOT = Path(__file__).parent.parent.parent
"""Where the processes run, so that they are of this code wherever the benchmark is called."""

START_SECONDS = 120.0
STOP_SECONDS = 20.0
_POLL_SECONDS = 0.05


class DidNotStart(Exception):
    """A process ended, or was not ready in time; the message has the last line that it wrote."""


class Server:
    """A server that runs: its address, its process, and what that and all its descendants use."""

    def __init__(self, address: str, pid: int) -> None:
        self.address = address
        self.pid = pid

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {self.address}>"

    @property
    def cpu_seconds(self) -> float:
        """Processor time, user's and system's, so far."""
        return process_usage.cpu_seconds(self.pid)

    @property
    def resident_bytes(self) -> int:
        """Resident memory now."""
        return process_usage.resident_bytes(self.pid)


class Process:
    """A process that was started, and what it has written to stdout and stderr.

    That goes to a file: a pipe would have to be read all the time, by the loop that puts on the load.
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process, output: IO[bytes]) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process
        self._output = output

    def __repr__(self) -> str:
        state = "running" if self._process.returncode is None else f"ended with status {self._process.returncode}"
        return f"<Process {self.name} {self.pid} {state}>"

    async def until_written(self, pattern: re.Pattern[str], patience: float = START_SECONDS) -> re.Match[str]:
        """Wait until its output has a match, and return that. Raises ``DidNotStart``."""
        found: re.Match[str] | None = None

        async def written() -> bool:
            nonlocal found
            found = pattern.search(self._written())
            return found is not None

        await self.until_ready(written, patience)
        assert found is not None
        return found

    async def until_ready(self, probe: Callable[[], Awaitable[bool]], patience: float = START_SECONDS) -> None:
        """Wait until ``probe`` is true; it is called again and again. Raises ``DidNotStart``."""
        try:
            async with asyncio.timeout(patience):
                while not await probe():
                    if self._process.returncode is not None:
                        status = self._process.returncode
                        raise DidNotStart(f"{self.name} ended with status {status}: {self._last_line()}")
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError as error:
            raise DidNotStart(f"{self.name} is not ready after {patience:.0f} s: {self._last_line()}") from error

    async def stop(self, grace: float) -> None:
        """Request it to end, and after so many seconds kill it with all that it started; without ``grace`` at once."""
        if grace and self._process.returncode is None:
            self._process.terminate()
            with suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await self._process.wait()
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        await self._process.wait()

    def _written(self) -> str:
        self._output.seek(0)
        return self._output.read().decode(errors="replace")

    def _last_line(self) -> str:
        lines = self._written().strip().splitlines()
        return lines[-1] if lines else "it wrote nothing"


@asynccontextmanager
async def launched(
    command: Sequence[str],
    cpus: frozenset[int],
    *,
    folder: Path = ROOT,
    environment: Mapping[str, str] | None = None,
    grace: float = STOP_SECONDS,
) -> AsyncIterator[Process]:
    """Run a command on these CPUs until the block ends, with ``environment`` added to this process's own."""
    with tempfile.TemporaryFile() as output:
        with pinned_to(cpus):
            process = await asyncio.create_subprocess_exec(
                *command,
                cwd=folder,
                env={**os.environ, **(environment or {})},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                # A process group of its own, so that nothing that it starts is left when it is killed.
                start_new_session=True,
            )
        running = Process(Path(command[0]).name, process, output)
        try:
            yield running
        finally:
            await running.stop(grace)


def python(module: str, *options: str) -> list[str]:
    """Return the command that runs a module of this repository."""
    return [sys.executable, "-m", module, *options]


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
