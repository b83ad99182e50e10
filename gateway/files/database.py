"""A SQLite database that several threads and processes share, for the indexes that stand beside plain files.

It is in WAL mode, so that readers do not wait for a writer, and each change is on the disk before it counts.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

_BUSY_SECONDS = 10.0
"""How long one process waits for another's change, which takes milliseconds."""


class NewerDatabase(OSError):
    """The database was written by a later version, which keeps it in another way."""


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Let others wait who would do the same in a folder, in this process or another."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


class Database:
    """Reads and changes a database, which is made of the statements in ``schema`` when it is not there yet.

    ``what`` it is called in errors. All methods block, and may be called by any thread. They raise ``sqlite3.Error``
    where the disk does not do its part; opening it raises ``OSError`` too.
    """

    def __init__(self, path: Path, what: str, schema: Sequence[str], version: int) -> None:
        self._lock = Lock()
        # SQLite does not wait to change the journal's mode while another makes the same new database.
        with _alone_in(path.parent):
            # SQLite would let others read it as far as the umask does; its other files get the permissions of this one.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare(what, schema, version)
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        """Close the database; harmless the second time."""
        with self._lock:
            self._connection.close()

    def rows(self, query: str, *values: object) -> list[Sequence[Any]]:
        """Read all rows that a query finds."""
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """Make changes that all happen, or none of them."""
        with self._lock:
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                # A disk that is full has ended the transaction already.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _prepare(self, what: str, schema: Sequence[str], version: int) -> None:
        """Make the tables, unless they are there."""
        (mode,) = self._connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise OSError(f"SQLite cannot keep {what} in WAL mode on this file system, only in {mode}")
        with self.change() as change:
            (found,) = change.execute("PRAGMA user_version").fetchone()
            if found > version:
                raise NewerDatabase(f"{what} was written by a later version of Headgate")
            if found < version:
                for statement in schema:
                    change.execute(statement)
                change.execute(f"PRAGMA user_version = {version}")
