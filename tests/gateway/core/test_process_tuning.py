"""The process is set up for many connections and short pauses."""

from __future__ import annotations

import gc
import resource
import sys
from collections.abc import Iterator

import pytest

from gateway.core.process_tuning import freeze_gc, raise_fd_limit, set_switch_interval


@pytest.fixture
def limit() -> Iterator[tuple[int, int]]:
    """Have few files for the time of a test."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
    yield 512, before[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_as_many_files_are_allowed_as_are_wanted_and_the_system_has(limit: tuple[int, int]) -> None:
    soft, hard = limit
    assert raise_fd_limit(100) == soft
    assert raise_fd_limit(1000) == 1000
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (1000, hard)
    assert raise_fd_limit(hard + 1) == hard


def test_a_busy_thread_gives_the_interpreter_back_within_a_millisecond() -> None:
    before = sys.getswitchinterval()
    try:
        set_switch_interval()
        assert sys.getswitchinterval() < 0.001
    finally:
        sys.setswitchinterval(before)


def test_what_lives_for_ever_is_spared_by_the_collector() -> None:
    before = gc.get_threshold()
    lives = ["for ever"]
    try:
        freeze_gc()
        assert not any(each is lives for each in gc.get_objects())
        assert gc.get_threshold()[0] > before[0]
    finally:
        gc.set_threshold(*before)
