"""A draft is a file only when it is kept, and can be told from one whose writer has died."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.files.draft import Draft, remove_abandoned


@pytest.fixture
def drafts(tmp_path: Path) -> Path:
    folder = tmp_path / "drafts"
    folder.mkdir()
    return folder


def test_nothing_is_there_before_something_is_written(drafts: Path) -> None:
    Draft(drafts).close()
    assert list(drafts.iterdir()) == []


def test_a_draft_that_is_kept_has_its_name_and_content(drafts: Path, tmp_path: Path) -> None:
    draft = Draft(drafts)
    draft.write(b"one ")
    draft.write(b"two")
    assert (draft.bytes, b"".join(draft.read_back())) == (7, b"one two")
    draft.move_to(tmp_path / "kept")
    draft.keep()
    draft.close()
    draft.close()
    assert (tmp_path / "kept").read_bytes() == b"one two"
    assert list(drafts.iterdir()) == []


def test_an_empty_draft_can_be_kept(drafts: Path, tmp_path: Path) -> None:
    draft = Draft(drafts)
    draft.move_to(tmp_path / "kept")
    draft.keep()
    draft.close()
    assert (tmp_path / "kept").read_bytes() == b""


@pytest.mark.parametrize("moved", [False, True])
def test_a_draft_that_is_not_kept_goes_away(drafts: Path, tmp_path: Path, moved: bool) -> None:
    draft = Draft(drafts)
    draft.write(b"x")
    if moved:
        draft.move_to(tmp_path / "kept")
    draft.close()
    assert [each.name for each in tmp_path.rglob("*")] == ["drafts"]


def test_a_file_with_a_writer_is_not_abandoned(drafts: Path, tmp_path: Path) -> None:
    draft = Draft(drafts)
    draft.write(b"x")
    (path,) = drafts.iterdir()
    remove_abandoned(path, lambda: False)
    assert path.exists()
    # The lock goes with the file when it is renamed, until it is closed.
    draft.move_to(tmp_path / "kept")
    remove_abandoned(tmp_path / "kept", lambda: False)
    assert (tmp_path / "kept").exists()
    draft.keep()
    draft.close()
    remove_abandoned(tmp_path / "kept", lambda: True)
    assert (tmp_path / "kept").exists()
    remove_abandoned(tmp_path / "kept", lambda: False)
    assert not (tmp_path / "kept").exists()
    remove_abandoned(tmp_path / "kept", lambda: False)


def test_a_draft_that_was_taken_for_abandoned_begins_anew(drafts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    lock = "gateway.files.draft.fcntl.flock"

    def removed_before_it_is_locked(_descriptor: int, _operation: int) -> None:
        made.extend(each.name for each in drafts.iterdir())
        if len(made) == 1:
            (drafts / made[0]).unlink()

    monkeypatch.setattr(lock, removed_before_it_is_locked)
    draft = Draft(drafts)
    draft.write(b"x")
    assert [each.read_bytes() for each in drafts.iterdir()] == [b"x"]
    assert len(made) == 2
    draft.close()
