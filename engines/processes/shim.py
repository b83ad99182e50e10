"""The parent of one engine process, so that the engine never outlives the gateway and leaves nothing behind.

Run as ``python -S shim.py COMMAND…`` with standard input as its lifeline: when the other end closes, however the
gateway ended, the engine and everything that it started are stopped. SIGTERM is passed on to the engine. The exit code
is the engine's, or 128 and the number of the signal that ended it. Linux only: it becomes the subreaper of all
descendants (``prctl(2)``), so that none can slip away, and imports no more than it needs, because there is one per
replica.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_GRACE_SECONDS = 5.0
_ENDING = (signal.SIGTERM, signal.SIGINT)


def guard(command: list[str]) -> int:
    """Run ``command`` until it ends or the lifeline closes, and return its exit code."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    received: list[int] = []
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in _ENDING:
        signal.signal(number, lambda number, _: received.append(number))

    engine = _start(command, libc)
    asked = False
    code = None
    while code is None:
        readable, _, _ = select.select([woken, 0], [], [])
        if woken in readable:
            os.read(woken, 4096)
        if received:
            received.clear()
            asked = True
            _send(engine, signal.SIGTERM)
        code = _reap(engine)
        if 0 in readable and not os.read(0, 4096):
            break
    left = _end_all(engine if code is None else None, woken, 0.0 if asked else _GRACE_SECONDS)
    return code if code is not None else left


def _start(command: list[str], libc: ctypes.CDLL) -> int:
    """Fork the engine; a signal to end that comes meanwhile waits until the engine can take it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    engine = os.fork()
    if engine == 0:
        _become(command, libc)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
    return engine


def _become(command: list[str], libc: ctypes.CDLL) -> None:
    """Turn the forked child into the engine, which dies with its shim."""
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.set_wakeup_fd(-1)
    # SIGPIPE and SIGXFSZ, because Python ignores them and what is ignored stays so in the engine.
    for number in (*_ENDING, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for entry in list(Path("/proc/self/fd").iterdir()):
        if int(entry.name) > 2:
            with suppress(OSError):
                os.close(int(entry.name))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell is wanted
    except OSError as error:
        os.write(2, f"{command[0]} cannot be started: {error.strerror}\n".encode())
    os._exit(127)


def _reap(engine: int) -> int | None:
    """Collect every child that has ended, adopted ones too; return the engine's exit code if it was among them."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == engine:
            code = _code(status)


def _end_all(engine: int | None, woken: int, grace: float) -> int:
    """End the engine, if it still runs, and every descendant: ask first, then kill. Return the engine's exit code.

    ``grace`` is in seconds, and 0 for an engine that was asked before and has had its time.
    """
    code = 0
    if engine is not None:
        _send(engine, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while engine is not None and (left := deadline - time.monotonic()) > 0:
        _wait(woken, left)
        ended = _reap(engine)
        if ended is not None:
            code, engine = ended, None
    while descendants := _descendants():
        for pid in descendants:
            _send(pid, signal.SIGKILL)
        _wait(woken, 0.1)
        ended = _reap(engine or 0)
        code = ended if ended is not None else code
    return code


def _wait(woken: int, seconds: float) -> None:
    """Wait for a signal, a child's end above all."""
    if select.select([woken], [], [], seconds)[0]:
        os.read(woken, 4096)


def _descendants() -> list[int]:
    """List every living process below this one, from the kernel's own lists of children."""
    found: list[int] = []
    waiting = [os.getpid()]
    while waiting:
        pid = waiting.pop()
        try:
            children = b"".join((task / "children").read_bytes() for task in Path(f"/proc/{pid}/task").iterdir())
        except OSError:
            continue
        below = [int(word) for word in children.split()]
        found += below
        waiting += below
    return found


def _code(status: int) -> int:
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


if __name__ == "__main__":
    raise SystemExit(guard(sys.argv[1:]))
