"""A program below limits has the lowest priority, and no more memory than it may have."""

from __future__ import annotations

import subprocess
import sys

import pytest

from engines.processes.limited import limited_command

pytestmark = pytest.mark.slow


def ran(code: str, memory_bytes: int) -> subprocess.CompletedProcess[str]:
    command = limited_command((sys.executable, "-S", "-c", code), memory_bytes)
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_it_yields_to_all_others() -> None:
    assert ran("import os; print(os.nice(0))", 2**30).stdout == "19\n"


def test_it_gets_the_memory_that_it_may_have_and_no_more() -> None:
    assert ran("print(len(bytes(50_000_000)))", 2**28).stdout == "50000000\n"
    assert "MemoryError" in ran("bytes(500_000_000)", 2**28).stderr


def test_its_exit_code_is_that_of_the_program() -> None:
    assert ran("raise SystemExit(7)", 2**30).returncode == 7
