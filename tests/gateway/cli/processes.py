"""The command line, run as a person runs it: in a process of its own."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

ROOT = Path(__file__).parents[3]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
REMOTE = '[gateway]\nlisten = "127.0.0.1:0"\ncontrol = "127.0.0.1:0"\n[models.m]\nengine = "remote"\nurls = ["{url}"]\n'


def headgate(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", *arguments]
    return subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=240, check=False)


@asynccontextmanager
async def running(*arguments: str, cwd: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a module as a process, and end it if the test does not."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *arguments,
        cwd=cwd,
        env=ENVIRONMENT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def says(process: asyncio.subprocess.Process, pattern: str) -> re.Match[str]:
    """Read until a line matches."""
    assert process.stdout is not None
    heard = []
    async with asyncio.timeout(240):
        async for line in process.stdout:
            heard.append(line.decode())
            if match := re.search(pattern, heard[-1]):
                return match
    raise AssertionError(f"it never said {pattern!r}, but {''.join(heard)}")
