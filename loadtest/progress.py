"""How a test is going, while it goes: one line that writes itself anew on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from shutil import get_terminal_size
from statistics import median
from typing import TextIO

from loadtest.load import Load

_REWRITE = "\r\x1b[K"
_TERMINAL_SECONDS = 0.25
_PLAIN_SECONDS = 2.0
_WINDOW_SECONDS = 4.0
"""Over how long rates are taken."""

_RECENT = 1000
"""Of how many requests the median is taken: sorting all of them again and again would make the client late."""


class Progress:
    """Shows on ``out`` (stderr, unless told otherwise) the load that is under way."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stderr
        self._rewrites = self._out.isatty()

    @contextmanager
    def showing(self, load: Load, label: str = "") -> Iterator[None]:
        """Show the load while the block runs, behind ``label``; on a terminal, clear the line at the end."""
        task = asyncio.get_running_loop().create_task(self._show(load, label))
        try:
            yield
        finally:
            task.cancel()
            if self._rewrites:
                self._write(_REWRITE)

    async def _show(self, load: Load, label: str) -> None:
        seen = deque([(load.now, len(load.records), load.finished)])
        began, sent_before, failed_before = load.now, len(load.records), load.failed
        while True:
            await asyncio.sleep(_TERMINAL_SECONDS if self._rewrites else _PLAIN_SECONDS)
            now = load.now
            while len(seen) > 1 and now - seen[0][0] > _WINDOW_SECONDS:
                seen.popleft()
            then, sent, finished = seen[0]
            seen.append((now, len(load.records), load.finished))
            line = (
                f"{label}{now - began:4.0f} s  offered {(len(load.records) - sent) / (now - then):.1f}, "
                f"achieved {(load.finished - finished) / (now - then):.1f}/s; {load.under_way} in flight, "
                f"{load.failed - failed_before} failed{_ttft(load, sent_before)}"
            )
            self._write(_REWRITE + line[: get_terminal_size().columns - 1] if self._rewrites else f"{line}\n")

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def _ttft(load: Load, since: int) -> str:
    """Give the median time to the first token of the last requests; nothing where responses do not stream."""
    recent = load.records[max(since, len(load.records) - _RECENT) :]
    times = [ttft for record in recent if (ttft := record.ttft) is not None]
    return f", ttft p50 {median(times) * 1000:.1f} ms" if times else ""
