"""A child ends with its parent, and before it does anything else if that is gone already."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def child(theirs: socket.socket, parent: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "gateway.processes", str(theirs.fileno()), str(parent)]
    return subprocess.Popen(command, pass_fds=[theirs.fileno()])


def test_a_child_whose_parent_is_another_by_now_does_not_begin() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, child(theirs, 1) as process:
        assert process.wait(60) == 1


def test_a_child_ends_when_its_parent_closes_the_socket() -> None:
    ours, theirs = socket.socketpair()
    with child(theirs, os.getpid()) as process:
        theirs.close()
        ours.close()
        assert process.wait(60) == 1


def test_a_child_leaves_signals_to_its_parent() -> None:
    ours, theirs = socket.socketpair()
    with ours, child(theirs, os.getpid()) as process:
        theirs.close()
        # Once it takes them no more, it has not ended because of them.
        while not ignored(process.pid) >= {signal.SIGTERM, signal.SIGINT}:
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        ours.close()
        assert process.wait(60) == 1


def ignored(pid: int) -> set[int]:
    """Return the signals that a process ignores, as the kernel shows them."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    (mask,) = (int(line.split()[1], 16) for line in lines if line.startswith("SigIgn"))
    return {number for number in range(1, 32) if mask >> (number - 1) & 1}
