"""What holds for all tests: whatever a gateway keeps in its user's data folder is not that of whoever runs them."""

from __future__ import annotations

import os
import shutil
import tempfile

import pytest

_FOLDER = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Give the tests, and the processes that they start, a data folder of their own."""
    config.stash[_FOLDER] = os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp(prefix="hg-data-")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove it."""
    shutil.rmtree(config.stash[_FOLDER], ignore_errors=True)
