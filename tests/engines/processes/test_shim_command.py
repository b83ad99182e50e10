"""A program that is run to its end says what it said, and dies with whoever runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engines.processes.shim_command import run, shim_command
from tests.engines.child_processes import Roll

pytestmark = pytest.mark.slow


def test_a_program_returns_what_it_wrote_and_its_exit_code() -> None:
    done = run([sys.executable, "-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"])
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")


def test_a_program_has_nothing_to_read() -> None:
    assert run(["cat"]).stdout == ""


def test_a_program_that_is_not_there_says_so() -> None:
    done = run(["/nowhere/program"])
    assert (done.returncode, done.stderr) == (127, "/nowhere/program cannot be started: No such file or directory\n")


def test_the_files_beside_the_guardian_hide_nothing_of_the_standard_library() -> None:
    interpreter, *flags, script, program = shim_command(["program"])
    assert (interpreter, program) == (sys.executable, "program")
    searched = subprocess.run(
        [interpreter, *flags, "-c", "import sys; print(sys.path)"], capture_output=True, text=True, check=True
    ).stdout
    assert str(Path(script).parent) not in searched
    assert "''" not in searched


def test_a_program_does_not_outlive_whoever_runs_it(roll: Roll) -> None:
    program = f"echo $$ > {roll.path}; exec sleep 600"
    code = f"from engines.processes.shim_command import run; run(['sh', '-c', {program!r}])"
    parent = subprocess.Popen([sys.executable, "-c", code])
    process = roll.next()
    assert process.alive
    parent.kill()
    parent.wait()
    assert process.ends()
