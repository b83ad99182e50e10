"""Starts a process so that nothing of it is left where the task that starts it is cancelled meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import Any


async def start_process(*command: str, **options: Any) -> asyncio.subprocess.Process:
    """Start a command in a session of its own; ``options`` are those of ``asyncio.create_subprocess_exec``.

    A task that is cancelled goes on only when the process has started, and has been killed with all that it started
    itself. Else it would run on, known to nobody. Raises ``OSError``.
    """
    starting = asyncio.ensure_future(asyncio.create_subprocess_exec(*command, start_new_session=True, **options))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        with suppress(OSError):
            process = await starting
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if process.stdin is not None:
                process.stdin.close()
            await process.wait()
        raise
