"""The folder that batches are kept in while they run, and the lock that lets one process alone run them.

::

    FOLDER/index.sqlite3         all batches, also those that have ended
    FOLDER/lock                  held by the process that runs batches
    FOLDER/batch_…/input.jsonl   the requests: another name of the uploaded file, which stays when that is deleted
    FOLDER/batch_…/output.jsonl  the answers so far
    FOLDER/batch_…/errors.jsonl  the lines that have failed so far
"""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

from gateway.batches.index import BatchIndex

_ABANDONED_AFTER = 3600.0
"""Seconds after which a folder that the index does not name is no longer one that is just being made."""


class BatchFolder:
    """One folder of batches. Its methods block, and may be called by any thread; several processes may have it open.

    Raises ``OSError`` or ``sqlite3.Error``, as all methods do, when it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.index = BatchIndex(path / "index.sqlite3")
        self._lock: int | None = None

    def __repr__(self) -> str:
        return f"<BatchFolder {self._path} [{'runs' if self._lock is not None else 'does not run'} its batches]>"

    def close(self) -> None:
        """Close the index, and let another process run the batches."""
        self.index.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def take_over(self) -> bool:
        """Begin to be the process that runs the batches, if no other is; return whether it is.

        The kernel ends the lock with its process, however that ends.
        """
        if self._lock is not None:
            return True
        descriptor = os.open(self._path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._lock = descriptor
        return True

    def begin(self, batch_id: str, source: Path) -> None:
        """Keep the input of a batch, which takes no room: it is the uploaded file under another name."""
        folder = self._path / batch_id
        folder.mkdir(mode=0o700)
        try:
            os.link(source, self.input_of(batch_id))
        except BaseException:
            self.discard(batch_id)
            raise

    def discard(self, batch_id: str) -> None:
        """Remove the folder of a batch; harmless where there is none."""
        shutil.rmtree(self._path / batch_id, ignore_errors=True)

    def input_of(self, batch_id: str) -> Path:
        """Return where the requests of a batch are."""
        return self._path / batch_id / "input.jsonl"

    def output_of(self, batch_id: str) -> Path:
        """Return where the answers of a batch are collected."""
        return self._path / batch_id / "output.jsonl"

    def errors_of(self, batch_id: str) -> Path:
        """Return where the errors of a batch are collected."""
        return self._path / batch_id / "errors.jsonl"

    def tidy(self, now: float) -> None:
        """Remove the folders of batches that have ended, which a crash has left. Called by who runs the batches."""
        running = {batch.id for batch in self.index.under_way()}
        for each in self._path.glob("batch_*"):
            if each.name not in running and now - each.stat().st_mtime > _ABANDONED_AFTER:
                self.discard(each.name)
