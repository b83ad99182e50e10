"""Which core runs what: the gateway has one for itself where there are two."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

AVAILABLE = tuple(sorted(os.sched_getaffinity(0)))
"""The cores that this process was started with, whatever it runs on later."""


def cores() -> tuple[frozenset[int], frozenset[int]]:
    """Return the cores of the load and those of the gateway; the same where there is only one."""
    return frozenset(AVAILABLE[:1]), frozenset(AVAILABLE[1:2] or AVAILABLE[:1])


@contextmanager
def on(wanted: frozenset[int]) -> Iterator[None]:
    """Run on these cores; what is started meanwhile stays there."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, wanted)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
