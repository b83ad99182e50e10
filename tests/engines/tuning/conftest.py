"""What the tests of the jobs begin with: a folder for them, and the weights of a base."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.tuning import weights


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    weights(tmp_path)
    (tmp_path / "tuning").mkdir()
    return tmp_path
