"""One process alone runs the batches of a folder, and what a crash has left is removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.batches.folder import BatchFolder
from gateway.batches.records import Batch


def test_another_takes_over_when_the_first_one_is_gone(tmp_path: Path) -> None:
    first, second = BatchFolder(tmp_path / "b"), BatchFolder(tmp_path / "b")
    assert first.take_over()
    assert first.take_over()
    assert not second.take_over()
    first.close()
    assert second.take_over()
    second.close()


def test_the_input_stays_when_the_uploaded_file_is_deleted(tmp_path: Path) -> None:
    folder, source = BatchFolder(tmp_path / "b"), tmp_path / "file"
    source.write_bytes(b"abc")
    folder.begin("batch_1", source)
    source.unlink()
    assert folder.input_of("batch_1").read_bytes() == b"abc"
    folder.discard("batch_1")
    folder.discard("batch_1")
    assert not folder.input_of("batch_1").parent.exists()
    with pytest.raises(FileNotFoundError):
        folder.begin("batch_2", source)
    assert not folder.input_of("batch_2").parent.exists()
    folder.close()


def test_folders_that_no_batch_needs_are_removed_but_not_those_just_made(tmp_path: Path) -> None:
    folder, source = BatchFolder(tmp_path / "b"), tmp_path / "file"
    source.write_bytes(b"abc")
    folder.index.add(Batch("batch_known", "", "/x", "file-1", "24h", 1, 2), 0)
    for name in ("batch_known", "batch_old", "batch_new"):
        folder.begin(name, source)
        os.utime(folder.input_of(name).parent, (1000.0, 5000.0 if name == "batch_new" else 1000.0))
    folder.tidy(5000.0)
    assert sorted(each.name for each in (tmp_path / "b").glob("batch_*")) == ["batch_known", "batch_new"]
    folder.close()
