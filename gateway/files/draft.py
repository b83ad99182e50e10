"""A file that is being written: it has a temporary name, and goes away with its writer unless it is kept."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from gateway.files.records import new_id

_PIECE = 1024 * 1024


class Draft:
    """What is written of a file so far. All of its methods block, and are called by one thread at a time.

    From its first byte the file is locked (``flock``), so that another process can tell it from one whose writer has
    died. The lock moves with the file when it gets its name, and ends with ``close``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor: int | None = None
        self._path: Path | None = None
        self._kept = False
        self.bytes = 0

    def __repr__(self) -> str:
        return f"<Draft {self._path} [{'kept' if self._kept else 'open'}; {self.bytes} bytes]>"

    def write(self, data: bytes) -> None:
        """Append to the file. Raises ``OSError``."""
        descriptor, rest = self._opened(), memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        self.bytes += len(data)

    def read_back(self) -> Iterator[bytes]:
        """Give what has been written, in pieces. Raises ``OSError``."""
        descriptor, at = self._opened(), 0
        while piece := os.pread(descriptor, _PIECE, at):
            at += len(piece)
            yield piece

    def move_to(self, path: Path) -> None:
        """Give the file its name, once all of it is on the disk. Raises ``OSError``."""
        os.fsync(self._opened())
        assert self._path is not None
        self._path.rename(path)
        self._path = path
        sync_folder(path.parent)

    def keep(self) -> None:
        """Let the file stay when it is closed."""
        self._kept = True

    def close(self) -> None:
        """Close the file, and remove it if it is not kept; harmless the second time. Raises ``OSError``."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        try:
            if not self._kept and self._path is not None:
                self._path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)

    def _opened(self) -> int:
        while self._descriptor is None:
            path = self._folder / new_id("draft-")
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Another process that starts may have taken it for abandoned before it was locked.
            if os.fstat(descriptor).st_nlink:
                self._descriptor, self._path = descriptor, path
            else:
                os.close(descriptor)
        return self._descriptor


def remove_abandoned(path: Path, wanted: Callable[[], bool]) -> None:
    """Remove a file unless it has a writer, or is ``wanted``, which is asked while nobody can begin to write it.

    Raises ``OSError``.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not wanted():
            path.unlink(missing_ok=True)
    except BlockingIOError:
        return
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
