"""Becomes another program, which yields the processor to all others and may take so much memory.

Run as ``python -I -S limited.py BYTES COMMAND…``. A program that is started from a process with threads cannot be
limited between its fork and its exec by Python code of that process, so this one limits itself first.
"""

from __future__ import annotations

import os
import resource
import sys

NICENESS = 19
"""The least of all shares of the processor."""


def limited_command(command: tuple[str, ...], memory_bytes: int) -> tuple[str, ...]:
    """Put the limits in front of a command."""
    return (sys.executable, "-I", "-S", __file__, str(memory_bytes), *command)


def become(memory_bytes: int, command: list[str]) -> None:
    """Turn this process into a program that may have ``memory_bytes`` of data, and beyond it gets no more memory."""
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    os.execvp(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    become(int(sys.argv[1]), sys.argv[2:])
