"""Processes that call out who they are, and how to wait for their end without asking again and again."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path
from types import TracebackType
from typing import Self

PATIENCE = 60.0
"""Longest wait for anything, in seconds, on the busiest machine."""


class Process:
    """A living process, whoever its parent is."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._handle = os.pidfd_open(pid)

    def __repr__(self) -> str:
        return f"<Process {self.pid} [{'alive' if self.alive else 'ended'}]>"

    @property
    def alive(self) -> bool:
        return not self.ends(within=0)

    def ends(self, *, within: float = PATIENCE) -> bool:
        """Wait for its end."""
        return bool(select.select([self._handle], [], [], within)[0])

    def kill(self) -> None:
        signal.pidfd_send_signal(self._handle, signal.SIGKILL)

    def close(self) -> None:
        """Forget it, and kill it if a test that failed has left it behind."""
        if self.alive:
            self.kill()
        os.close(self._handle)


class Roll:
    """A FIFO into which processes write their pids: ``echo $$ > PATH``. What is on it does not survive the test."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "roll"
        os.mkfifo(self.path)
        self._fifo = os.open(self.path, os.O_RDWR)
        self._processes: list[Process] = []
        self._unread = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in self._processes:
            process.close()
        os.close(self._fifo)

    def next(self) -> Process:
        """Wait for a process to call itself out."""
        while b"\n" not in self._unread:
            assert select.select([self._fifo], [], [], PATIENCE)[0], "nobody called out"
            self._unread += os.read(self._fifo, 4096)
        line, _, self._unread = self._unread.partition(b"\n")
        self._processes.append(Process(int(line)))
        return self._processes[-1]

    @property
    def empty(self) -> bool:
        """Whether nobody has called out whom the test has not heard."""
        return not self._unread and not select.select([self._fifo], [], [], 0)[0]
