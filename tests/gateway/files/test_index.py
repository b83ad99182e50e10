"""The index: owners see their own, what has expired is not shown, and several processes may change it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from gateway.core.errors import StorageLimitExceeded, UploadNotPending
from gateway.files.database import NewerDatabase
from gateway.files.index import Index
from gateway.files.records import FileQuery, FileRecord, PartRecord, UploadRecord


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    opened = Index(tmp_path / "index.sqlite3")
    yield opened
    opened.close()
    opened.close()


def file(
    name: str, owner: str = "a", size: int = 10, expires_at: int | None = None, purpose: str = "evals"
) -> FileRecord:
    return FileRecord(f"file-{name}", owner, size, 100, expires_at, f"{name}.txt", purpose)


def upload(name: str, owner: str = "a", expires_at: int = 3_600) -> UploadRecord:
    return UploadRecord(f"upload_{name}", owner, 20, 100, expires_at, "a.txt", "evals", None)


def part(name: str, of: str, size: int = 10) -> PartRecord:
    return PartRecord(f"part_{name}", f"upload_{of}", size, 100)


def names(files: list[FileRecord] | None) -> str:
    assert files is not None
    return "".join(each.id.removeprefix("file-") for each in files)


def test_what_was_added_is_found_by_its_owner_alone(index: Index) -> None:
    index.add_file(file("a"), 0)
    assert index.file("a", "file-a", 200.0) == file("a")
    assert index.file("b", "file-a", 200.0) is None
    assert names(index.files("b", FileQuery(), 200.0)) == ""
    assert index.remove_file("file-a")
    assert not index.remove_file("file-a")
    assert index.file("a", "file-a", 200.0) is None


def test_what_has_expired_is_not_shown_from_the_moment_on(index: Index) -> None:
    index.add_file(file("a", expires_at=300), 0)
    assert index.file("a", "file-a", 299.9) is not None
    assert index.file("a", "file-a", 300.0) is None
    assert names(index.files("a", FileQuery(), 300.0)) == ""
    assert index.has_file("file-a")
    assert index.remove_expired(299.9) == ([], [])
    assert index.remove_expired(300.0) == (["file-a"], [])
    assert not index.has_file("file-a")


def test_files_are_listed_in_pages_in_either_order(index: Index) -> None:
    for name in "abcde":
        index.add_file(file(name, purpose="evals" if name in "ace" else "vision"), 0)
    assert names(index.files("a", FileQuery(), 200.0)) == "edcba"
    assert names(index.files("a", FileQuery(limit=2), 200.0)) == "ed"
    assert names(index.files("a", FileQuery(limit=2, after="file-d"), 200.0)) == "cb"
    assert names(index.files("a", FileQuery(after="file-c", ascending=True), 200.0)) == "de"
    assert names(index.files("a", FileQuery(purpose="evals"), 200.0)) == "eca"
    assert index.files("a", FileQuery(after="file-x"), 200.0) is None
    assert index.files("b", FileQuery(after="file-a"), 200.0) is None


def test_an_owner_may_take_so_much_room(index: Index) -> None:
    index.add_file(file("a", size=60), 100)
    index.add_file(file("b", owner="b", size=60), 100)
    index.add_upload(upload("u"))
    index.add_part(part("p", "u", 40), 100, 200.0)
    assert (index.used("a"), index.used("b"), index.used("c")) == (100, 60, 0)
    with pytest.raises(StorageLimitExceeded, match=r"more than 100 bytes \(files.max_bytes\)"):
        index.add_file(file("c", size=1), 100)
    with pytest.raises(StorageLimitExceeded):
        index.add_part(part("q", "u", 1), 100, 200.0)
    assert names(index.files("a", FileQuery(), 200.0)) == "a"
    # The file takes the place of its parts.
    assert index.complete_upload("upload_u", file("c", size=40), 100, 200.0) == ["part_p"]
    assert index.used("a") == 100


def test_an_upload_is_completed_or_cancelled_once(index: Index) -> None:
    for name in ("one", "two"):
        index.add_upload(upload(name))
        index.add_part(part(name, name), 0, 200.0)
    assert [each.id for each in index.parts("upload_one")] == ["part_one"]
    assert index.complete_upload("upload_one", file("a"), 0, 200.0) == ["part_one"]
    assert index.cancel_upload("upload_two", 200.0) == ["part_two"]
    for name, status in (("one", "completed"), ("two", "cancelled")):
        found = index.upload("a", f"upload_{name}", 200.0)
        assert found == msgspec.structs.replace(upload(name), status=status)
        for act in (
            lambda name=name: index.add_part(part("x", name), 0, 200.0),
            lambda name=name: index.cancel_upload(f"upload_{name}", 200.0),
            lambda name=name: index.complete_upload(f"upload_{name}", file("b"), 0, 200.0),
        ):
            with pytest.raises(UploadNotPending, match=f"is {status}"):
                act()
    assert names(index.files("a", FileQuery(), 200.0)) == "a"


def test_an_upload_expires_with_its_parts_and_is_forgotten_later(index: Index) -> None:
    index.add_upload(upload("u"))
    index.add_part(part("p", "u"), 0, 200.0)
    with pytest.raises(UploadNotPending, match="is expired"):
        index.add_part(part("q", "u"), 0, 3_600.0)
    found = index.upload("a", "upload_u", 3_600.0)
    assert found is not None
    assert found.status == "expired"
    assert index.upload("b", "upload_u", 200.0) is None
    assert index.remove_expired(3_600.0) == ([], ["part_p"])
    assert index.part_ids() == set()
    assert index.remove_expired(3_600.0 + 24 * 3_600) == ([], [])
    assert index.upload("a", "upload_u", 200.0) is None


def test_a_completion_without_room_leaves_everything_as_it_was(index: Index) -> None:
    index.add_upload(upload("u"))
    index.add_part(part("p", "u"), 0, 200.0)
    with pytest.raises(StorageLimitExceeded):
        index.complete_upload("upload_u", file("a", size=20), 15, 200.0)
    assert index.has_part("part_p")
    assert index.file_ids() == set()


def test_an_index_is_the_same_when_it_is_opened_again_and_by_several(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        opened = list(threads.map(lambda _: Index(tmp_path / "i"), range(8)))
        for _ in threads.map(lambda n: opened[n % 8].add_file(file(str(n)), 0), range(40)):
            pass
    assert all(len(each.file_ids()) == 40 for each in opened)
    for each in opened:
        each.close()
    again = Index(tmp_path / "i")
    assert len(again.file_ids()) == 40
    assert repr(again) == f"<Index {tmp_path}/i>"
    again.close()


def test_an_index_of_a_later_version_is_left_alone(tmp_path: Path, index: Index) -> None:
    with sqlite3.connect(tmp_path / "index.sqlite3") as later:
        later.execute("PRAGMA user_version = 2")
    later.close()
    with pytest.raises(NewerDatabase, match="later version"):
        Index(tmp_path / "index.sqlite3")
