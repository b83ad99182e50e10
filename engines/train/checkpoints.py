"""Checkpoints of a job: ``step-N``, which appears by a rename when it is complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_KEPT = 2
"""How many are kept: the newest, and the one before in case the newest cannot be read."""


class Checkpoints:
    """The folder ``checkpoints`` of a job."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __repr__(self) -> str:
        return f"<Checkpoints {[path.name for path in self._complete()]}>"

    def latest(self) -> Path | None:
        """Give the newest complete one, if there is any."""
        return max(self._complete(), key=_step, default=None)

    def save(self, step: int, write: Callable[[Path], None]) -> Path:
        """Have ``write`` fill a folder and make it ``step-N``; of the older ones all but one are removed."""
        target = self._folder / f"step-{step}"
        temporary = self._folder / f".step-{step}"
        self._folder.mkdir(exist_ok=True)
        for old in (temporary, target):
            shutil.rmtree(old, ignore_errors=True)
        temporary.mkdir()
        write(temporary)
        for file in temporary.iterdir():
            _sync(file)
        temporary.rename(target)
        _sync(self._folder)
        for old in sorted(self._complete(), key=_step)[:-_KEPT]:
            shutil.rmtree(old)
        return target

    def _complete(self) -> list[Path]:
        found = []
        if self._folder.is_dir():
            for path in self._folder.iterdir():
                with suppress(ValueError):
                    _step(path)
                    found.append(path)
        return found


def _step(path: Path) -> int:
    """Give a checkpoint's step. Raises ``ValueError`` for anything else that lies there."""
    return int(path.name.removeprefix("step-"))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
