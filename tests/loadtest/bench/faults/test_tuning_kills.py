"""What is to be killed is found by the module that it runs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loadtest.bench.faults.tuning_kills import process_of

PARENT = """
import json, subprocess, sys
child = subprocess.Popen([sys.executable, *json.loads(sys.argv[1])], stdin=subprocess.PIPE, text=True)
child.communicate(sys.stdin.readline())
"""
CHILD = "import os; print(os.getpid(), flush=True); input()"


@contextmanager
def parent_of(*command: str) -> Iterator[tuple[int, int]]:
    """Run a process with a child that waits; give both process ids."""
    started = [sys.executable, "-c", PARENT, json.dumps(command)]
    with subprocess.Popen(started, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())
        process.communicate("\n")


def test_a_process_is_found_by_the_module_that_it_runs() -> None:
    with parent_of("-c", CHILD, "engines.train") as (parent, child):
        assert process_of(parent, "engines.train") == child
        assert process_of(parent, "engines.tuning") is None


def test_what_starts_a_process_is_not_taken_for_it(tmp_path: Path) -> None:
    shim = tmp_path / "shim.py"
    shim.write_text(CHILD)
    with parent_of(str(shim), "-m", "engines.train") as (parent, _):
        assert process_of(parent, "engines.train") is None
