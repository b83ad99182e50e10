"""Programs from PyPI, each in a virtual environment of its own, so that they do not meet ours or one another."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

_WHOLE = "installed"
"""A file that says that the environment around it is complete."""


class Missing(Exception):
    """A program cannot be had here; the message says why, and what to install."""


async def environment(package: str, version: str, folder: Path, log: Callable[[str], None]) -> Path:
    """Return the folder of the commands of one version of a package, which is installed below ``folder`` at first.

    Raises ``Missing``.
    """
    place = folder / f"{package}-{version}"
    commands = place / "bin"
    if (place / _WHOLE).exists():
        return commands
    wanted = f"{package}=={version}"
    log(f"installing {wanted} into {place}")
    steps: tuple[Sequence[str], ...] = (
        (sys.executable, "-m", "venv", "--clear", str(place)),
        (str(commands / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wanted),
    )
    for step in steps:
        process = await asyncio.create_subprocess_exec(
            *step, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await process.communicate()
        if process.returncode:
            last = (output.decode().strip().splitlines() or [f"status {process.returncode}"])[-1]
            reason = last.removeprefix("ERROR: ")
            raise Missing(f"{reason}; `pip install {wanted}` has to work, in an environment made with `python -m venv`")
    (place / _WHOLE).touch()
    return commands
