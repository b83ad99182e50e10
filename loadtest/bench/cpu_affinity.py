"""Which CPU runs what: the gateway has one for itself where there are two."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

AVAILABLE_CPUS = tuple(sorted(os.sched_getaffinity(0)))
"""The CPUs that this process was started with, whatever it runs on later."""


def load_and_gateway_cpus() -> tuple[frozenset[int], frozenset[int]]:
    """Return the CPUs of the load and those of the gateway; the same where there is only one."""
    return frozenset(AVAILABLE_CPUS[:1]), frozenset(AVAILABLE_CPUS[1:2] or AVAILABLE_CPUS[:1])


@contextmanager
def pinned_to(cpus: frozenset[int]) -> Iterator[None]:
    """Run on these CPUs; a process that is started meanwhile stays there."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
