"""The folder: what the index names is there and whole, and what a crash leaves is removed, but nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.core.errors import StorageLimitExceeded
from gateway.files.draft import Draft
from gateway.files.folder import FileFolder, default_folder
from gateway.files.records import FileQuery, FileRecord, PartRecord, UploadRecord

ROOT = Path(__file__).parents[3]


def file(name: str, expires_at: int | None = None) -> FileRecord:
    return FileRecord(f"file-{name}", "", 3, 100, expires_at, "a", "evals")


def written(folder: FileFolder, data: bytes = b"abc") -> Draft:
    draft = folder.draft()
    draft.write(data)
    return draft


def added(folder: FileFolder, name: str, expires_at: int | None = None) -> None:
    draft = written(folder)
    folder.keep_file(draft, file(name, expires_at), 0)
    draft.close()


def contents(path: Path) -> dict[str, bytes]:
    return {
        str(each.relative_to(path)): each.read_bytes()
        for each in path.rglob("*")
        if each.is_file() and not each.name.startswith(("index.", "lock"))
    }


def test_a_file_is_in_the_folder_by_its_id_until_it_is_removed(tmp_path: Path) -> None:
    folder = FileFolder(tmp_path)
    added(folder, "a")
    assert contents(tmp_path) == {"files/file-a": b"abc"}
    assert folder.path_of_file("file-a").read_bytes() == b"abc"
    assert folder.remove_file("file-a")
    assert not folder.remove_file("file-a")
    assert contents(tmp_path) == {}
    folder.close()


def test_a_file_for_which_there_is_no_room_leaves_nothing(tmp_path: Path) -> None:
    folder = FileFolder(tmp_path)
    draft = written(folder)
    with pytest.raises(StorageLimitExceeded):
        folder.keep_file(draft, file("a"), 2)
    draft.close()
    assert contents(tmp_path) == {}
    folder.close()


def test_everything_is_there_when_the_folder_is_opened_again(tmp_path: Path) -> None:
    folder = FileFolder(tmp_path)
    added(folder, "a")
    added(folder, "b")
    folder.close()
    again = FileFolder(tmp_path)
    listed = again.index.files("", FileQuery(), 200.0)
    assert listed == [file("b"), file("a")]
    assert contents(tmp_path) == {"files/file-a": b"abc", "files/file-b": b"abc"}
    again.close()


def test_an_upload_goes_from_parts_to_a_file(tmp_path: Path) -> None:
    folder = FileFolder(tmp_path)
    for name in ("one", "two"):
        folder.index.add_upload(UploadRecord(f"upload_{name}", "", 3, 100, 3_600, "a", "evals", None))
        draft = written(folder)
        folder.keep_part(draft, PartRecord(f"part_{name}", f"upload_{name}", 3, 100), 0, 200.0)
        draft.close()
    assert set(contents(tmp_path)) == {"parts/part_one", "parts/part_two"}
    draft = written(folder)
    folder.complete_upload(draft, "upload_one", file("a"), 0, 200.0)
    draft.close()
    folder.cancel_upload("upload_two", 200.0)
    assert contents(tmp_path) == {"files/file-a": b"abc"}
    folder.close()


def test_what_has_expired_is_removed_from_the_disk(tmp_path: Path) -> None:
    folder = FileFolder(tmp_path)
    added(folder, "a", expires_at=300)
    added(folder, "b")
    assert folder.remove_expired(299.0) == 0
    assert folder.remove_expired(300.0) == 1
    assert contents(tmp_path) == {"files/file-b": b"abc"}
    folder.close()


def test_opening_removes_what_a_crash_has_left_and_not_what_is_being_written(tmp_path: Path) -> None:
    living = FileFolder(tmp_path)
    added(living, "kept")
    draft = written(living)
    renamed = written(living)
    renamed.move_to(living.path_of_file("file-almost"))
    # What processes leave that died: while they wrote, before the index knew, and before a removal was over.
    (tmp_path / "drafts" / "draft-dead").write_bytes(b"half")
    (tmp_path / "files" / "file-unknown").write_bytes(b"x")
    (tmp_path / "parts" / "part_unknown").write_bytes(b"x")
    other = FileFolder(tmp_path)
    assert set(contents(tmp_path)) == {
        "files/file-kept",
        "files/file-almost",
        *(str(each.relative_to(tmp_path)) for each in (tmp_path / "drafts").iterdir()),
    }
    assert len(list((tmp_path / "drafts").iterdir())) == 1
    living.keep_file(draft, file("late"), 0)
    for each in (draft, renamed):
        each.close()
    other.close()
    living.close()
    assert set(contents(tmp_path)) == {"files/file-kept", "files/file-late"}


def test_a_process_that_is_killed_while_it_writes_leaves_nothing_for_long(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from gateway.files.folder import FileFolder\n"
        "folder = FileFolder(Path(sys.argv[1])); draft = folder.draft(); draft.write(b'half')\n"
        "print(len(list((Path(sys.argv[1]) / 'drafts').iterdir())), flush=True); os.kill(os.getpid(), 9)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-c", code, tmp_path], env=environment, stdout=subprocess.PIPE, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout) == (-9, b"1\n")
    assert list(contents(tmp_path).values()) == [b"half"]
    FileFolder(tmp_path).close()
    assert contents(tmp_path) == {}


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="Not a directory"):
        FileFolder(tmp_path / "file" / "folder")


def test_the_folder_of_a_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert default_folder() == Path("/data/headgate/files")
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_DATA_HOME", value)
        assert default_folder() == tmp_path / ".local/share/headgate/files"


def test_what_was_written_elsewhere_becomes_a_file_once(tmp_path: Path) -> None:
    folder = FileFolder(tmp_path / "f")
    source = tmp_path / "results"
    source.write_bytes(b"abc")
    for _ in range(2):
        folder.adopt_file(source, file("a"))
    assert folder.path_of_file("file-a").read_bytes() == b"abc"
    assert folder.index.files("", FileQuery(), 200.0) == [file("a")]
    source.unlink()
    assert folder.path_of_file("file-a").read_bytes() == b"abc"
    folder.close()


def test_what_a_crash_left_half_adopted_is_adopted_again(tmp_path: Path) -> None:
    folder = FileFolder(tmp_path / "f")
    source = tmp_path / "results"
    source.write_bytes(b"abc")
    os.link(source, folder.path_of_file("file-a"))
    folder.adopt_file(source, file("a"))
    assert folder.index.has_file("file-a")
    folder.close()
