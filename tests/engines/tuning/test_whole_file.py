"""A file is replaced as a whole, or stays as it was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engines.tuning.whole_file import write_whole


def test_a_file_is_written_and_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    for content in (b"one", b"two"):
        write_whole(tmp_path / "job.json", content)
        assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"job.json": content}


def test_what_fails_before_the_disk_has_it_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    write_whole(tmp_path / "job.json", b"one")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(tmp_path / "job.json", b"two")
    assert (tmp_path / "job.json").read_bytes() == b"one"
