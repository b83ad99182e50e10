"""One JSON line per request, written by a thread of its own so that a slow disk or terminal delays no token.

The data plane encodes the lines, because the thread would hold the interpreter's lock for it, at a moment of its own
choice and for many lines at once; what the thread does with whole batches takes the lock hardly at all.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import msgspec

from gateway.core.context import RequestContext, RequestHead
from gateway.http.trace_context import TRACE_ID

_MAX_PENDING = 100_000
"""Lines that may wait for the disk; beyond this new ones are dropped, and the log says how many."""

_BATCH_LINES = 256
"""So many lines are handed over before the next tick: a small write delays what else runs on the core less."""

_CLOSE_SECONDS = 5.0
"""Longest wait for the last lines: a pipe that nobody reads must not keep the gateway from ending."""


class Asked(msgspec.Struct, omit_defaults=True, gc=False):
    """The part of a line that a request's head says; many requests have the same head, and encode it once."""

    client: str
    method: str
    path: str
    endpoint: str = ""
    key: str = ""


class Line(msgspec.Struct, omit_defaults=True, gc=False):
    """The rest of a line. Durations are milliseconds, and so exact is ``time``; what did not happen is left out."""

    time: datetime
    request_id: str
    status: int
    duration_ms: float
    model: str = ""
    code: str | None = None
    message: str | None = None
    stream: bool = False
    replica: str = ""
    attempts: int = 0
    queue_ms: float | None = None
    overhead_ms: float | None = None
    ttft_ms: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    trace_id: str = ""


class AccessLog:
    """Takes finished requests from the data plane and writes them in batches.

    ``path`` is where ``target`` was opened; where that is renamed or removed, the log goes on in a new file.
    """

    def __init__(
        self, target: BinaryIO, lock: AbstractContextManager[object] | None = None, path: Path | None = None
    ) -> None:
        self._target = target
        self._path = path
        self._lock = lock or contextlib.nullcontext()
        self._lines: list[bytes] = []
        self._batches: deque[list[bytes]] = deque()
        self._dropped = 0
        self._unwritten = 0
        self._told = 0
        self._torn = False
        # Looking at the calendar takes as long as encoding half a line, so it is done once in a millisecond.
        self._time = datetime.now(UTC)
        self._time_until = 0.0
        self._wake = threading.Event()
        self._ending = False
        self._encode = msgspec.json.Encoder().encode
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, where: str, lock: AbstractContextManager[object] | None = None) -> AccessLog | None:
        """Open ``stdout``, a file to append to, or nothing for ``off``. Raises ``OSError``.

        ``lock`` is held while lines are written: where other processes write to the same pipe, it keeps lines whole.
        """
        if where == "off":
            return None
        if where == "stdout":
            return cls(open(1, "wb", buffering=0, closefd=False), lock)
        path = Path(where)
        return cls(_opened(path), lock, path)

    def __repr__(self) -> str:
        return f"<AccessLog [{self._pending} lines pending]>"

    @property
    def _pending(self) -> int:
        """How many lines wait for the disk."""
        return len(self._lines) + sum(map(len, list(self._batches)))

    @property
    def lost(self) -> int:
        """How many lines were not written: there was no room for them here, or none where they were to go."""
        return self._dropped + self._unwritten

    def of_head(self, head: RequestHead) -> bytes:
        """Encode what a head says, as the end of a line."""
        method, path = head.method.decode("latin-1"), head.path.decode("latin-1")
        return self._encode(Asked(head.client, method, path, head.endpoint, head.key.id)).replace(b"{", b",", 1)

    def ended(self, context: RequestContext, now: float) -> None:
        """Note a request that is over; ``now`` is a ``perf_counter`` reading. Called by the data plane, and cheap."""
        if now >= self._time_until:
            self._time, self._time_until = datetime.now(UTC), now + 0.001
        first, received_at, overhead = context.first_token_at, context.received_at, context.overhead
        # By position, in the order above: naming the fields would cost more than all the rest. What is less than a
        # microsecond is cut off without a call.
        line = Line(
            self._time,
            context.request_id,
            context.status,
            (now - received_at) * 1e6 // 1.0 / 1e3,
            context.model,
            None,
            None,
            context.streamed,
            context.replica,
            context.retries + 1 if context.replica else 0,
            context.queued_for * 1e6 // 1.0 / 1e3 if context.queued_for else None,
            overhead * 1e6 // 1.0 / 1e3 if overhead else None,
            (first - received_at) * 1e6 // 1.0 / 1e3 if first is not None else None,
            context.input_tokens,
            context.output_tokens,
            context.cached_tokens,
            (context.trace or context.head.trace)[TRACE_ID].decode("ascii"),
        )
        error = context.error
        if error is not None:
            line.code, line.message = error.code, error.message
        lines, encode = self._lines, self._encode
        lines.append(encode(line)[:-1] + (context.head.logged or self.of_head(context.head)))
        if len(lines) >= _BATCH_LINES:
            self.flush()

    def flush(self) -> None:
        """Let the thread write what there is; called on every tick of the data plane."""
        lines, self._lines = self._lines, []
        room = max(0, _MAX_PENDING - self._pending)
        if len(lines) > room:
            self._dropped += len(lines) - room
            del lines[room:]
        if lines:
            self._batches.append(lines)
            self._wake.set()

    def close(self) -> None:
        """Write everything that the target takes within a few seconds, and stop."""
        self.flush()
        self._ending = True
        self._wake.set()
        self._thread.join(_CLOSE_SECONDS)
        # A thread that is still writing needs its target; both end with the process.
        if not self._thread.is_alive():
            self._target.close()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            ending = self._ending
            self._write()
            if ending:
                return

    def _write(self) -> None:
        lines: list[bytes] = []
        while self._batches:
            lines += self._batches.popleft()
        missing = self.lost
        telling = missing != self._told
        if telling:
            lines.append(b'{"dropped_lines":%d}' % (missing - self._told))
        if not lines:
            return
        self._follow()
        # A line that a full disk cut short is ended first, so that it spoils no other.
        data = b"\n" * self._torn + b"\n".join(lines) + b"\n"
        with self._lock:
            written = self._write_whole(data)
        if written:
            self._torn = data[written - 1 : written] != b"\n"
        if written == len(data):
            self._told = missing
        else:
            self._unwritten += min(data.count(b"\n", written), len(lines)) - telling

    def _follow(self) -> None:
        """Go on in a new file where the log has been rotated; one that cannot be made leaves the old one in use."""
        if self._path is None:
            return
        with contextlib.suppress(OSError):
            if not self._path.exists() or not os.path.samestat(self._path.stat(), os.fstat(self._target.fileno())):
                old, self._target = self._target, _opened(self._path)
                self._torn = False
                old.close()

    def _write_whole(self, data: bytes) -> int:
        """Write as much as the target takes, and return how many bytes that was."""
        rest = memoryview(data)
        # A full disk or a closed pipe must not end the thread: requests matter more than their lines.
        with contextlib.suppress(OSError, ValueError):
            while rest:
                taken = self._target.write(rest)
                if not taken:
                    break
                rest = rest[taken:]
        return len(data) - len(rest)


def _opened(path: Path) -> BinaryIO:
    """Open a file to append to. Raises ``OSError``."""
    return path.open("ab", buffering=0)
