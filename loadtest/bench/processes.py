"""What a process and its children have used, as the kernel counts it (``proc(5)``)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_RESIDENT = re.compile(r"^VmRSS:\s+(\d+) kB$", re.MULTILINE)


def tree(pid: int) -> Iterator[int]:
    """Give a process and all that descend from it."""
    yield pid
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in list(Path(f"/proc/{pid}/task").iterdir()):
            for child in (task / "children").read_text().split():
                yield from tree(int(child))


def cpu_seconds(pid: int) -> float:
    """Return the processor time, user's and system's, of a process and its children so far."""
    ticks = 0
    for each in tree(pid):
        with suppress(FileNotFoundError, ProcessLookupError):
            # The command's name stands in brackets and may hold anything, so the fields are counted behind it.
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """Return the memory that a process and its children hold now."""
    total = 0
    for each in tree(pid):
        with suppress(FileNotFoundError, ProcessLookupError):
            found = _RESIDENT.search(Path(f"/proc/{each}/status").read_text())
            total += int(found[1]) * 1024 if found else 0
    return total
