"""The index of files, uploads and parts: one SQLite database, which several processes may share."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from gateway.core.errors import StorageLimitExceeded, UploadNotPending
from gateway.files.database import Database
from gateway.files.records import FileQuery, FileRecord, PartRecord, UploadRecord

_VERSION = 1

_SCHEMA = (
    """CREATE TABLE files (
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, bytes INTEGER NOT NULL,
        created_at INTEGER NOT NULL, expires_at INTEGER, filename TEXT NOT NULL, purpose TEXT NOT NULL)""",
    "CREATE INDEX files_by_owner ON files (owner, number)",
    "CREATE INDEX files_by_expiry ON files (expires_at) WHERE expires_at IS NOT NULL",
    """CREATE TABLE uploads (
        id TEXT PRIMARY KEY, owner TEXT NOT NULL, bytes INTEGER NOT NULL, created_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL, filename TEXT NOT NULL, purpose TEXT NOT NULL, keep_seconds INTEGER,
        status TEXT NOT NULL)""",
    "CREATE INDEX uploads_by_owner ON uploads (owner)",
    """CREATE TABLE parts (
        id TEXT PRIMARY KEY, upload_id TEXT NOT NULL, bytes INTEGER NOT NULL, created_at INTEGER NOT NULL)""",
    "CREATE INDEX parts_by_upload ON parts (upload_id)",
)

_FORGOTTEN_AFTER = 24 * 3600
"""Seconds after which an upload that is over is not remembered any more."""

_FILE = "id, owner, bytes, created_at, expires_at, filename, purpose"
_UPLOAD = "id, owner, bytes, created_at, expires_at, filename, purpose, keep_seconds, status"
_PART = "id, upload_id, bytes, created_at"
_VISIBLE = "(expires_at IS NULL OR expires_at > ?)"

_USED = """SELECT (SELECT COALESCE(SUM(bytes), 0) FROM files WHERE owner = ?) + (
    SELECT COALESCE(SUM(parts.bytes), 0) FROM parts JOIN uploads ON parts.upload_id = uploads.id
    WHERE uploads.owner = ?)"""
"""How many bytes an owner has, who is given twice."""

Row = Sequence[Any]


class Index:
    """Finds and changes what is known of files. Its methods block, and may be called by any thread.

    Each of them is one transaction; they raise ``sqlite3.Error`` where the disk does not do its part. ``now`` is in
    seconds since 1970. Raises ``sqlite3.Error`` or ``OSError`` when it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database = Database(path, "the index", _SCHEMA, _VERSION)

    def __repr__(self) -> str:
        return f"<Index {self._path}>"

    def close(self) -> None:
        """Close the database; harmless the second time."""
        self._database.close()

    # files

    def add_file(self, file: FileRecord, max_bytes: int) -> None:
        """Add a file. Raises ``StorageLimitExceeded`` if its owner has no room for it; 0 is no limit."""
        with self._database.change() as change:
            _check_room(change, file.owner, file.bytes, max_bytes)
            _insert_file(change, file)

    def file(self, owner: str, file_id: str, now: float) -> FileRecord | None:
        """Find a file of an owner."""
        query = f"SELECT {_FILE} FROM files WHERE id = ? AND owner = ? AND {_VISIBLE}"  # noqa: S608 - constants
        return next((_file(row) for row in self._database.rows(query, file_id, owner, now)), None)

    def files(self, owner: str, query: FileQuery, now: float) -> list[FileRecord] | None:
        """List files in the order in which they were added, the newest first unless that is turned around.

        ``None`` if there is no file ``after`` which to begin.
        """
        where, values = f"owner = ? AND {_VISIBLE}", [owner, now]
        if query.purpose is not None:
            where += " AND purpose = ?"
            values.append(query.purpose)
        if query.after is not None:
            found = self._database.rows("SELECT number FROM files WHERE id = ? AND owner = ?", query.after, owner)
            if not found:
                return None
            where += f" AND number {'>' if query.ascending else '<'} ?"
            values.append(found[0][0])
        order = "ASC" if query.ascending else "DESC"
        select = f"SELECT {_FILE} FROM files WHERE {where} ORDER BY number {order} LIMIT ?"  # noqa: S608 - constants
        return [_file(row) for row in self._database.rows(select, *values, query.limit)]

    def remove_file(self, file_id: str) -> bool:
        """Forget a file; return whether it was there."""
        with self._database.change() as change:
            return change.execute("DELETE FROM files WHERE id = ?", (file_id,)).rowcount > 0

    def has_file(self, file_id: str) -> bool:
        """Tell whether there is a file, also one that has expired."""
        return bool(self._database.rows("SELECT 1 FROM files WHERE id = ?", file_id))

    def file_ids(self) -> set[str]:
        """Give the ids of all files."""
        return {str(row[0]) for row in self._database.rows("SELECT id FROM files")}

    def used(self, owner: str) -> int:
        """Tell how many bytes the files of an owner and the parts of its uploads take."""
        return _sum(self._database.rows(_USED, owner, owner))

    # uploads

    def add_upload(self, upload: UploadRecord) -> None:
        """Add an upload without parts."""
        with self._database.change() as change:
            change.execute(
                f"INSERT INTO uploads ({_UPLOAD}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - constants
                msgspec.structs.astuple(upload),
            )

    def upload(self, owner: str, upload_id: str, now: float) -> UploadRecord | None:
        """Find an upload of an owner; one whose time is over has expired, whether that has been written or not."""
        query = f"SELECT {_UPLOAD} FROM uploads WHERE id = ? AND owner = ?"  # noqa: S608 - constants
        for row in self._database.rows(query, upload_id, owner):
            upload = _upload(row)
            over = upload.status == "pending" and upload.expires_at <= now
            return msgspec.structs.replace(upload, status="expired") if over else upload
        return None

    def add_part(self, part: PartRecord, max_bytes: int, now: float) -> None:
        """Add a part. Raises ``UploadNotPending`` or ``StorageLimitExceeded``."""
        with self._database.change() as change:
            owner = _pending_owner(change, part.upload_id, now)
            _check_room(change, owner, part.bytes, max_bytes)
            change.execute(
                f"INSERT INTO parts ({_PART}) VALUES (?, ?, ?, ?)",  # noqa: S608 - constants
                msgspec.structs.astuple(part),
            )

    def parts(self, upload_id: str) -> list[PartRecord]:
        """Give the parts of an upload."""
        rows = self._database.rows(f"SELECT {_PART} FROM parts WHERE upload_id = ?", upload_id)  # noqa: S608 - constants
        return [PartRecord(*row) for row in rows]

    def part_ids(self) -> set[str]:
        """Give the ids of all parts."""
        return {str(row[0]) for row in self._database.rows("SELECT id FROM parts")}

    def has_part(self, part_id: str) -> bool:
        """Tell whether there is a part."""
        return bool(self._database.rows("SELECT 1 FROM parts WHERE id = ?", part_id))

    def complete_upload(self, upload_id: str, file: FileRecord, max_bytes: int, now: float) -> list[str]:
        """Put a file in the place of an upload's parts, and return their ids.

        Raises ``UploadNotPending`` or ``StorageLimitExceeded``.
        """
        with self._database.change() as change:
            _pending_owner(change, upload_id, now)
            parts = _end_upload(change, upload_id, "completed")
            _check_room(change, file.owner, file.bytes, max_bytes)
            _insert_file(change, file)
        return parts

    def cancel_upload(self, upload_id: str, now: float) -> list[str]:
        """Cancel an upload, and return the ids of its parts. Raises ``UploadNotPending``."""
        with self._database.change() as change:
            _pending_owner(change, upload_id, now)
            return _end_upload(change, upload_id, "cancelled")

    # what has expired

    def remove_expired(self, now: float) -> tuple[list[str], list[str]]:
        """Forget what has expired; return the ids of those files and parts."""
        if not self._has_expired(now):
            return [], []
        with self._database.change() as change:
            files = change.execute("DELETE FROM files WHERE expires_at <= ? RETURNING id", (now,)).fetchall()
            uploads = change.execute(
                "SELECT id FROM uploads WHERE status = 'pending' AND expires_at <= ?", (now,)
            ).fetchall()
            parts = [part for (upload,) in uploads for part in _end_upload(change, upload, "expired")]
            change.execute("DELETE FROM uploads WHERE expires_at <= ?", (now - _FORGOTTEN_AFTER,))
        return [row[0] for row in files], parts

    # inside

    def _has_expired(self, now: float) -> bool:
        """Tell whether anything has, without the lock that keeps other processes from writing."""
        query = """SELECT 1 FROM files WHERE expires_at <= ?
            UNION SELECT 1 FROM uploads WHERE expires_at <= ? AND (status = 'pending' OR expires_at <= ?)"""
        return bool(self._database.rows(query, now, now, now - _FORGOTTEN_AFTER))


def _file(row: Row) -> FileRecord:
    return FileRecord(*row)


def _upload(row: Row) -> UploadRecord:
    return UploadRecord(*row)


def _insert_file(change: sqlite3.Connection, file: FileRecord) -> None:
    change.execute(
        f"INSERT INTO files ({_FILE}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - constants
        msgspec.structs.astuple(file),
    )


def _sum(rows: Sequence[Row]) -> int:
    return int(rows[0][0])


def _check_room(change: sqlite3.Connection, owner: str, size: int, max_bytes: int) -> None:
    if max_bytes and _sum(change.execute(_USED, (owner, owner)).fetchall()) + size > max_bytes:
        raise storage_limit_exceeded(max_bytes)


def _pending_owner(change: sqlite3.Connection, upload_id: str, now: float) -> str:
    """Return whose upload it is. Raises ``UploadNotPending``."""
    row = change.execute("SELECT owner, status, expires_at FROM uploads WHERE id = ?", (upload_id,)).fetchone()
    if row is None or row[1] != "pending" or row[2] <= now:
        raise not_pending(upload_id, "expired" if row is None or row[1] == "pending" else row[1])
    return str(row[0])


def _end_upload(change: sqlite3.Connection, upload_id: str, status: str) -> list[str]:
    """End an upload, and return the ids of its parts, which are forgotten."""
    change.execute("UPDATE uploads SET status = ? WHERE id = ?", (status, upload_id))
    parts = change.execute("DELETE FROM parts WHERE upload_id = ? RETURNING id", (upload_id,)).fetchall()
    return [row[0] for row in parts]


def storage_limit_exceeded(max_bytes: int) -> StorageLimitExceeded:
    """Give the error of an owner whose files would take too much room."""
    return StorageLimitExceeded(
        f"Your files would take more than {max_bytes} bytes (files.max_bytes); delete some first."
    )


def not_pending(upload_id: str, status: str) -> UploadNotPending:
    """Give the error for an upload that is over."""
    return UploadNotPending(f"The upload {upload_id!r} is {status}; create another one.", param="upload_id")
