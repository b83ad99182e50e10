"""A configuration file of a test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gateway.config.mistakes import Write


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def put(text: str) -> Path:
        path = tmp_path / "models.toml"
        path.write_text(text)
        return path

    return put
