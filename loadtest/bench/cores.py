"""Which core runs what: the gateway has one for itself where there are two."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


def cores() -> tuple[frozenset[int], frozenset[int]]:
    """Return the cores of the load and those of the gateway; the same where there is only one."""
    available = sorted(os.sched_getaffinity(0))
    return frozenset(available[:1]), frozenset(available[1:2] or available[:1])


@contextmanager
def on(wanted: frozenset[int]) -> Iterator[None]:
    """Run on these cores; what is started meanwhile stays there."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, wanted)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
