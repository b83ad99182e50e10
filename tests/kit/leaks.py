"""Whether something was left behind: open files and tasks, before and after."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

_PATIENCE = 60.0
"""Seconds for which sockets may still be about to close."""


_RESERVE = "/dev/null"
"""A uvloop keeps this open from its first server on, so that it can still refuse connections without descriptors."""


def open_files() -> dict[int, str]:
    """Return this process's open file descriptors and what they are (``socket:[1234]``, a path, …)."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:
            continue  # The descriptor with which the directory itself was read.
        if target != _RESERVE:
            found[int(entry.name)] = target
    return found


def open_tasks() -> set[str]:
    """Return a description of each unfinished task of the running loop, except the one that asks."""
    current = asyncio.current_task()
    return {repr(task) for task in asyncio.all_tasks() if task is not current}


@asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """Check that after the block no more files are open, and no more tasks alive, than before it."""
    files, tasks = set(open_files().items()), asyncio.all_tasks()
    yield
    deadline = time.monotonic() + _PATIENCE
    while True:
        new_files = set(open_files().items()) - files
        new_tasks = asyncio.all_tasks() - tasks
        if not new_files and not new_tasks:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"left behind: {sorted(new_files)} {new_tasks}")
        await asyncio.sleep(0)
