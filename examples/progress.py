"""Tells how far something is that takes longer than a moment."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Part = TypeVar("Part")

_EVERY_SECONDS = 2.0


def with_progress(parts: Sequence[Part], what: str, clock: Callable[[], float] = time.monotonic) -> Iterator[Part]:
    """Give the parts one by one, and write every two seconds which share is done and how long the rest will take."""
    start = told = clock()
    for done, part in enumerate(parts):
        now = clock()
        if done and now - told >= _EVERY_SECONDS:
            told = now
            left = (now - start) / done * (len(parts) - done)
            print(f"  {what}: {done / len(parts):.0%}, {left:.0f} s left", file=sys.stderr, flush=True)
        yield part
