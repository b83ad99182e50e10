"""What keeps a run of all tests short: nothing is imported that none of them needs, and little is collected twice."""

from __future__ import annotations

import gc
import re
from collections.abc import Generator
from pathlib import Path

import pytest

_ALL_SLOW = re.compile(r"^pytestmark = \[?\s*pytest\.mark\.slow\b", re.MULTILINE)


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
