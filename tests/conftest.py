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


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave a file alone whose tests are all slow when no slow test is to run: to import torch alone takes seconds."""
    if config.option.markexpr == "not slow" and collection_path.suffix == ".py":
        return bool(_ALL_SLOW.search(collection_path.read_text(encoding="utf-8"))) or None
    return None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the cyclic collector away from what is imported and collected, which lives as long as the run does."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
