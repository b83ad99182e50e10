"""What the tests of processes share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.processes import Roll


@pytest.fixture
def roll(tmp_path: Path) -> Iterator[Roll]:
    """Let processes call out their pids; those that are still there in the end are killed."""
    with Roll(tmp_path) as opened:
        yield opened
