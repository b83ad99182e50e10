"""A checkpoint is there whole or not at all, and the newest whole one is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.train.checkpoints import Checkpoints


def write(folder: Path) -> None:
    (folder / "state").write_text("whole")


def test_without_any_there_is_no_latest(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "checkpoints").latest() is None


def test_the_latest_is_that_of_the_highest_step(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(9, write)
    assert checkpoints.save(10, write) == checkpoints.latest() == tmp_path / "checkpoints" / "step-10"
    assert (tmp_path / "checkpoints" / "step-10" / "state").read_text() == "whole"


def test_an_unfinished_one_does_not_count_and_is_written_again(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, write)

    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        checkpoints.save(2, fail)
    assert checkpoints.latest() == tmp_path / "step-1"
    checkpoints.save(2, write)
    assert [path.name for path in (tmp_path / "step-2").iterdir()] == ["state"]


def test_older_ones_are_removed(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (8, 9, 10, 11):
        checkpoints.save(step, write)
    assert {path.name for path in tmp_path.iterdir()} == {"step-10", "step-11"}


def test_other_things_that_lie_there_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "step-last").mkdir()
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, write)
    assert checkpoints.latest() == tmp_path / "step-1"
    assert (tmp_path / "step-last").exists()
