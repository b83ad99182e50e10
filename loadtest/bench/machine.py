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
        "commit": commit_of(_ROOT),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def commit_of(folder: Path) -> str:
    """Return the commit of a checkout, whoever owns it, marked if files differ from it; or why it is not known.

    Figures are also taken in a copy without a repository, where nothing else would say that they cannot be traced.
    """
    command = ["git", "-c", "safe.directory=*", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown (git is not installed)"
    return f"unknown ({done.stderr.strip()})" if done.returncode else done.stdout.strip()
