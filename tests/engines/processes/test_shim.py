"""A shim ends when its engine does, and its engine ends when it does, with everything that the engine started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from engines.processes.shim_command import shim_command
from tests.engines.child_processes import PATIENCE, Roll

pytestmark = pytest.mark.slow

Guard = Callable[..., "subprocess.Popen[str]"]

WAITING = "while :; do sleep 600 & wait; done"
"""A shell that takes signals while it waits."""


@pytest.fixture
def guard() -> Iterator[Guard]:
    """Start shims, each with a pipe as its lifeline."""
    with ExitStack() as stack:

        def start(*command: str, pass_fds: tuple[int, ...] = ()) -> subprocess.Popen[str]:
            shim = subprocess.Popen(
                shim_command(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=pass_fds,
                text=True,
            )
            stack.enter_context(shim)
            stack.callback(shim.kill)
            return shim

        yield start


def deafly(code: str) -> str:
    return f"trap '' TERM; {code}"


def cut(shim: subprocess.Popen[str]) -> None:
    """Close the lifeline, as the kernel does for a process that was killed."""
    assert shim.stdin is not None
    shim.stdin.close()


def output(shim: subprocess.Popen[str]) -> str:
    assert shim.stdout is not None
    return shim.stdout.read()


@pytest.mark.parametrize(
    ("code", "expected"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 128 + 9), ("kill -11 $$", 128 + 11)]
)
def test_the_exit_code_is_the_engines(guard: Guard, code: str, expected: int) -> None:
    assert guard("sh", "-c", code).wait(PATIENCE) == expected


def test_an_engine_that_is_not_there_is_named(guard: Guard) -> None:
    shim = guard("/nowhere/engine", "--port", "1")
    assert shim.wait(PATIENCE) == 127
    assert output(shim) == "/nowhere/engine cannot be started: No such file or directory\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_end_reaches_the_engine_which_ends_in_its_own_way(guard: Guard, roll: Roll, number: int) -> None:
    shim = guard("sh", "-c", f"trap 'echo bye; exit 7' TERM; echo $$ > {roll.path}; {WAITING}")
    roll.next()
    shim.send_signal(number)
    assert shim.wait(PATIENCE) == 7
    assert output(shim) == "bye\n"


def test_no_moment_is_too_early_for_the_signal_to_end(guard: Guard) -> None:
    for _ in range(5):
        shim = guard("sleep", "600")
        while not catches(shim.pid, signal.SIGTERM):
            assert shim.poll() is None
        shim.terminate()
        assert shim.wait(PATIENCE) == 128 + signal.SIGTERM


def catches(pid: int, number: int) -> bool:
    """Tell whether a process has taken precautions for a signal (``proc(5)``, SigCgt)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(status.partition("SigCgt:")[2].split()[0], 16) & 1 << number - 1)


def test_a_cut_lifeline_lets_the_engine_end_in_its_own_way(guard: Guard, roll: Roll) -> None:
    shim = guard("sh", "-c", f"trap 'echo bye; exit 7' TERM; echo $$ > {roll.path}; {WAITING}")
    process = roll.next()
    cut(shim)
    assert shim.wait(PATIENCE) == 7
    assert output(shim) == "bye\n"
    assert not process.alive


def test_an_engine_that_was_asked_before_has_no_more_time_after_the_cut(guard: Guard, roll: Roll) -> None:
    shim = guard("sh", "-c", f"trap 'echo asked > {roll.path}.asked' TERM; echo $$ > {roll.path}; {WAITING}")
    os.mkfifo(f"{roll.path}.asked")
    process = roll.next()
    shim.terminate()
    assert Path(f"{roll.path}.asked").read_text() == "asked\n"
    cut(shim)
    assert process.ends(within=4), "it was given the time of one that had not been asked"
    assert shim.wait(PATIENCE) == 128 + signal.SIGKILL


def test_an_engine_that_does_not_listen_is_killed_some_seconds_after_the_cut(guard: Guard, roll: Roll) -> None:
    shim = guard("sh", "-c", deafly(f"echo $$ > {roll.path}; {WAITING}"))
    process = roll.next()
    cut(shim)
    assert process.ends()
    assert shim.wait(PATIENCE) == 128 + signal.SIGKILL


def test_an_engine_whose_lifeline_is_cut_already_does_not_stay(guard: Guard) -> None:
    shim = guard("sleep", "600")
    cut(shim)
    assert shim.wait(PATIENCE) == 128 + signal.SIGTERM


@pytest.fixture
def family(tmp_path: Path, roll: Roll) -> tuple[str, ...]:
    """Write an engine with a child that does not listen, and a daemon that has left its session and lost its parent."""
    child = tmp_path / "child"
    child.write_text(f"trap '' TERM; echo $$ > {roll.path}; exec sleep 600")
    code = f"sh {child} & setsid --fork sh {child}; exec sleep 600"
    return "sh", "-c", f"echo $$ > {roll.path}; {code}"


def test_everything_that_the_engine_started_ends_when_the_lifeline_is_cut(
    guard: Guard, roll: Roll, family: tuple[str, ...]
) -> None:
    shim = guard(*family)
    processes = [roll.next() for _ in range(3)]
    cut(shim)
    assert shim.wait(PATIENCE) == 128 + signal.SIGTERM
    assert [process.alive for process in processes] == [False] * 3


def test_everything_that_the_engine_started_ends_when_it_crashes(
    guard: Guard, roll: Roll, family: tuple[str, ...]
) -> None:
    shim = guard(*family)
    crashed, *others = [roll.next() for _ in range(3)]
    crashed.kill()
    assert shim.wait(PATIENCE) == 128 + signal.SIGKILL
    assert [process.alive for process in others] == [False] * 2


def test_an_engine_does_not_outlive_its_guardian(guard: Guard, roll: Roll) -> None:
    shim = guard("sh", "-c", deafly(f"echo $$ > {roll.path}; exec sleep 600"))
    process = roll.next()
    shim.kill()
    assert process.ends()


def test_an_engine_inherits_nothing_but_its_output(guard: Guard) -> None:
    inherited = os.open("/dev/null", os.O_RDONLY)
    try:
        look = "import os; print(sorted(os.listdir('/proc/self/fd')))"
        shim = guard(sys.executable, "-c", look, pass_fds=(inherited,))
    finally:
        os.close(inherited)
    # Standard input, output and error, and the descriptor with which the list was read.
    assert output(shim) == "['0', '1', '2', '3']\n"


def test_an_engine_meets_signals_as_any_program_does(guard: Guard) -> None:
    lines = dict(line.split(":\t") for line in output(guard("cat", "/proc/self/status")).splitlines())
    assert int(lines["SigBlk"], 16) == int(lines["SigCgt"], 16) == 0
    # What else is ignored was so before, under ``nohup`` for example.
    pythons = {signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
    assert {number for number in pythons if int(lines["SigIgn"], 16) & 1 << number - 1} == set()


def test_an_engine_has_nothing_to_read(guard: Guard) -> None:
    shim = guard("cat")
    assert shim.wait(PATIENCE) == 0
