"""Starts programs under a shim: none outlives this process, however it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from engines.processes import shim


def shim_command(command: Sequence[str]) -> tuple[str, ...]:
    """Put a shim in front of a command; its standard input is then the lifeline, and nothing is to be read there.

    The shim's interpreter is isolated, because the files beside it must not hide modules of the standard library.
    """
    return (sys.executable, "-I", "-S", shim.__file__, *command)


def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, without input, and return what it wrote and its exit code. Blocks."""
    lifeline, held = os.pipe()
    try:
        return subprocess.run(shim_command(command), stdin=lifeline, capture_output=True, text=True, check=False)
    finally:
        os.close(lifeline)
        os.close(held)
