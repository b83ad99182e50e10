"""The mistakes that a configuration file is told to have."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.config.load import load
from gateway.config.problems import ConfigError

Write = Callable[[str], Path]
DIGEST = hashlib.sha256(b"secret").hexdigest()
REMOTE = '[models.m]\nengine = "remote"\nurls = ["http://127.0.0.1:1"]\n'


def mistakes(path: Path) -> list[str]:
    """Return what is wrong in a file, one line each, without the folder."""
    with pytest.raises(ConfigError) as caught:
        load(path)
    return str(caught.value).replace(f"{path.parent}/", "").splitlines()
