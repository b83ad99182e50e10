"""Gateways of one machine that scale the same models on the same GPUs find each other, as long as both run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.scaling.neighbours import FOLDER_PREFIX, Neighbours


def neighbour(among: Path, name: str, gpus: str = "") -> Neighbours:
    """Make a gateway with a folder of its own and these GPUs."""
    folder = among / f"{FOLDER_PREFIX}{name}"
    folder.mkdir(exist_ok=True)
    return Neighbours(folder, gpus)


def test_both_find_the_models_that_both_scale(tmp_path: Path) -> None:
    ours, theirs = neighbour(tmp_path, "a"), neighbour(tmp_path, "b")
    assert ours.rivals(["chat", "embed"]) == {}
    assert theirs.rivals(["chat", "guard"]) == {"chat": os.getpid()}
    assert ours.rivals(["chat", "embed"]) == {"chat": os.getpid()}


def test_models_come_and_go_with_the_configuration(tmp_path: Path) -> None:
    ours, theirs = neighbour(tmp_path, "a"), neighbour(tmp_path, "b")
    theirs.rivals(["a-model-with-a-long-name", "chat"])
    assert ours.rivals(["chat"]) == {"chat": os.getpid()}
    theirs.rivals(["embed"])
    assert ours.rivals(["chat"]) == {}
    assert set(ours.rivals(["chat", "embed"])) == {"embed"}


def test_one_that_has_left_or_was_killed_is_none(tmp_path: Path) -> None:
    ours, theirs = neighbour(tmp_path, "a"), neighbour(tmp_path, "b")
    theirs.rivals(["chat"])
    theirs.leave()
    # Its lock ends with its process, and the file stays.
    assert (tmp_path / "headgate-b/scales.json").exists()
    assert ours.rivals(["chat"]) == {}
    theirs.rivals(["chat"])
    assert set(ours.rivals(["chat"])) == {"chat"}


@pytest.mark.parametrize(("ours", "theirs", "found"), [("01", "12", True), ("0", "1", False), ("0", "", False)])
def test_one_with_other_gpus_is_none(tmp_path: Path, ours: str, theirs: str, found: bool) -> None:
    other = neighbour(tmp_path, "b", theirs)
    other.rivals(["chat"])
    assert bool(neighbour(tmp_path, "a", ours).rivals(["chat"])) is found


def test_what_is_no_gateway_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "headgate-file").touch()
    (tmp_path / "headgate-empty").mkdir()
    other = neighbour(tmp_path, "written")
    other.rivals(["chat"])
    (tmp_path / "headgate-written/scales.json").write_text("{")
    assert neighbour(tmp_path, "a").rivals(["chat"]) == {}


def test_a_folder_of_another_user_is_not_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = neighbour(tmp_path, "b")
    theirs.rivals(["chat"])
    monkeypatch.setattr(os, "getuid", lambda: -1)
    assert neighbour(tmp_path, "a").rivals(["chat"]) == {}


def test_where_nothing_can_be_written_others_are_found_all_the_same(tmp_path: Path) -> None:
    theirs = neighbour(tmp_path, "b")
    theirs.rivals(["chat"])
    ours = neighbour(tmp_path, "a")
    (tmp_path / "headgate-a").rmdir()
    assert set(ours.rivals(["chat"])) == {"chat"}
    assert theirs.rivals(["chat"]) == {}


def test_one_that_scales_nothing_writes_nothing_down(tmp_path: Path) -> None:
    assert neighbour(tmp_path, "a").rivals([]) == {}
    assert list((tmp_path / "headgate-a").iterdir()) == []
