"""The lines of a batch that have no result yet: where they stand in the input, and which one is asked next."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from gateway.batches.input_check import LINE, BatchInput, BatchLine


class Line(NamedTuple):
    """A line that is to be asked: its place in the input, and how often its engine has failed."""

    start: int
    size: int
    failures: int = 0


class LinesLeft:
    """Gives one line after the other: those that were given back first, then those whose pause is over, then new ones.

    Only the places of lines are in memory. The input is opened, which raises ``OSError``, and must be closed.
    """

    def __init__(self, path: Path, found: BatchInput) -> None:
        self._input = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._unasked: Iterator[tuple[int, int]] = iter(zip(found.starts, found.sizes, strict=True))
        self._next: deque[Line] = deque()
        self._paused: list[tuple[float, Line]] = []
        self.in_flight = 0
        """How many were taken, and are neither answered nor back."""

    def __repr__(self) -> str:
        return f"<LinesLeft [{self.in_flight} in flight, {len(self._paused)} paused]>"

    def close(self) -> None:
        """Close the input."""
        os.close(self._input)

    def ready(self, now: float) -> bool:
        """Whether there is a line to take; ``now`` is a ``perf_counter`` reading."""
        if not self._next and self._paused and self._paused[0][0] <= now:
            self._next.append(heappop(self._paused)[1])
        if not self._next:
            self._next.extend(Line(*place) for place in islice(self._unasked, 1))
        return bool(self._next)

    def take(self) -> Line:
        """Take the next line; there is one."""
        self.in_flight += 1
        return self._next.popleft()

    def put_back(self, line: Line) -> None:
        """Let a line be the next one again."""
        self.in_flight -= 1
        self._next.appendleft(line)

    def put_off(self, line: Line, until: float) -> None:
        """Let a line whose engine failed come again, not before ``until``, a ``perf_counter`` reading."""
        self.in_flight -= 1
        heappush(self._paused, (until, line._replace(failures=line.failures + 1)))

    def answered(self) -> None:
        """Note that a line that was taken has its answer."""
        self.in_flight -= 1

    def read(self, line: Line) -> BatchLine:
        """Read a line. Blocks; raises ``OSError``."""
        return LINE.decode(os.pread(self._input, line.size, line.start))

    def read_rest(self, most: int) -> list[BatchLine]:
        """Read at most about so many lines of those that are left, to be taken with ``drop_rest``.

        Blocks; raises ``OSError``, and leaves the lines where they were then.
        """
        self._next.extend(line for _, line in self._paused)
        self._paused.clear()
        self._next.extend(Line(*place) for place in islice(self._unasked, max(0, most - len(self._next))))
        return [self.read(line) for line in self._next]

    def drop_rest(self) -> None:
        """Leave out what was read of the rest."""
        self._next.clear()
