"""What the figures were measured on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loadtest.bench.cpu_affinity import AVAILABLE_CPUS

_ROOT = Path(__file__).parent.parent.parent
_MODEL = re.compile(r"^model name\s*:\s*(.+)$", re.MULTILINE)


def described() -> dict[str, Any]:
    """Return the machine, the versions and the moment."""
    found = _MODEL.search(Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    versions = {name: importlib.metadata.version(name) for name in ("uvloop", "httptools", "msgspec")}
    return {
        "cpu": found[1] if found else platform.machine(),
        "cores": len(AVAILABLE_CPUS),
        "memory_gib": round(memory / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        **versions,
        "commit": _commit(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _commit() -> str:
    """Return the commit, marked if files differ from it; nothing outside of a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip()
