"""A full disk is told from one that cannot be used, and no path is given away."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

import pytest

from gateway.files.failures import storage_error


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_no_room_is_a_507(number: int) -> None:
    error = storage_error(OSError(number, "x", "/secret/path"))
    assert (error.status, error.code) == (507, "insufficient_storage")
    assert "/secret" not in error.message
    assert error.headers == b"x-should-retry: false\r\n"


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        (PermissionError(errno.EACCES, "x", "/secret/path"), "Permission denied"),
        (OSError(errno.EROFS, "x"), "Read-only file system"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "attempt to write a readonly database"),
    ],
)
def test_a_folder_that_cannot_be_used_is_a_500(cause: OSError | sqlite3.Error, reason: str) -> None:
    error = storage_error(cause)
    assert (error.status, error.code) == (500, "storage_failed")
    assert error.message == f"The folder for files (gateway.files.folder) cannot be used: {reason}."


def test_a_full_database_is_a_507(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "x")
    database.execute("CREATE TABLE t (x)")
    database.execute("PRAGMA max_page_count = 3")
    with pytest.raises(sqlite3.OperationalError) as full:
        database.execute("INSERT INTO t VALUES (?)", ("x" * 100_000,))
    database.close()
    assert storage_error(full.value).status == 507
