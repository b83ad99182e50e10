"""Another project's gateway in a process of its own, beside which ours is measured."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO

from loadtest.bench.cores import cores, on
from loadtest.bench.crowd import Crowd, request
from loadtest.bench.deployment import DidNotStart, Plan, Running

_START_SECONDS = 60.0


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@asynccontextmanager
async def serving(
    command: Sequence[str], port: int, plan: Plan, patience: float = _START_SECONDS
) -> AsyncIterator[Running]:
    """Run a command on the gateway's core, from its first answer at a port of 127.0.0.1 until the block ends.

    It is killed then, with all that it started, for nothing of it is kept. Raises ``DidNotStart`` where it ends or has
    not answered after ``patience`` seconds.
    """
    asked = request("bench", plan.key(0), plan.model(0))
    name = Path(command[0]).name
    address = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile() as said:
        with on(cores()[1]):
            process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
            )
        try:
            try:
                async with asyncio.timeout(patience):
                    while not await _answers(address, asked):
                        if process.returncode is not None:
                            raise DidNotStart(f"{name} ended with status {process.returncode}: {_last(said)}")
                        await asyncio.sleep(0.05)
            except TimeoutError as error:
                raise DidNotStart(f"{name} does not answer after {patience:.0f} s: {_last(said)}") from error
            yield Running(address, process.pid)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def _answers(address: str, asked: bytes) -> bool:
    crowd = Crowd(address)
    try:
        await crowd.open([[asked]])
        await crowd.ask_once()
    except ConnectionError:
        return False
    finally:
        await crowd.close()
    return not crowd.tally.failed


def _last(said: IO[bytes]) -> str:
    """Return the last line that a process wrote."""
    said.seek(0)
    lines = said.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
