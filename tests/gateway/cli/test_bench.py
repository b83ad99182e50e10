"""``headgate bench`` is the load generator."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.gateway.cli.processes import ENVIRONMENT, headgate

pytestmark = pytest.mark.slow


def test_bench_is_the_load_test_with_all_its_options(tmp_path: Path) -> None:
    own = subprocess.run(
        [sys.executable, "-m", "loadtest", "--help"], env=ENVIRONMENT, capture_output=True, text=True, check=True
    ).stdout
    assert headgate("bench", "--help", cwd=tmp_path).stdout == own.replace("python -m loadtest", "headgate bench")
    told = headgate("bench", "--model", "m", "--rate", "0", cwd=tmp_path)
    assert told.returncode == 2
    assert "headgate bench: error: argument --rate: 0 is not a positive number" in told.stderr
    assert "headgate bench compare: error:" in headgate("bench", "compare", cwd=tmp_path).stderr
