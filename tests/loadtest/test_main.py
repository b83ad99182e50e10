"""The module runs the command line, and passes its exit code on."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_the_module_is_the_command_line() -> None:
    told = subprocess.run([sys.executable, "-m", "loadtest"], capture_output=True, text=True, check=False)
    assert told.returncode == 2
    assert "usage: python -m loadtest --model NAME" in told.stderr
