"""What holds for all tests: they leave the data of whoever runs them alone, and nothing is imported in vain."""

from __future__ import annotations

import gc
import os
import re
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

_FOLDER = pytest.StashKey[str]()

_ALL_SLOW = re.compile(r"^pytestmark = \[?\s*pytest\.mark\.slow\b", re.MULTILINE)


def pytest_configure(config: pytest.Config) -> None:
    """Give the tests, and the processes that they start, a data folder of their own."""
    config.stash[_FOLDER] = os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp(prefix="hg-data-")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove it."""
    shutil.rmtree(config.stash[_FOLDER], ignore_errors=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Take one worker more than there are cores, as some tests wait for others; no more than eight, as each costs."""
    return min(len(os.sched_getaffinity(0)) + 1, 8)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave a file, or a folder, alone whose tests are all slow when no slow test is to run.

    What they import takes seconds, torch alone, and each of the processes that run tests would import it.
    """
    return True if config.option.markexpr == "not slow" and _all_slow(collection_path) else None


def _all_slow(path: Path) -> bool:
    if path.is_dir():
        return all(_all_slow(file) for file in path.rglob("test_*.py"))
    return path.suffix == ".py" and bool(_ALL_SLOW.search(path.read_text(encoding="utf-8")))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the cyclic collector away from what is imported and collected, which lives as long as the run does.

    Later it looks at what is new less often than by default: that takes a tenth of the time of all tests.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(10_000, 10, 10)
        gc.enable()
