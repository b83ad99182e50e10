"""The folder that files are kept in, and what blocks: names, drafts that become files, and what is to be removed.

::

    FOLDER/files/file-…    the content of a file, by its id
    FOLDER/parts/part_…    the content of a part of an upload
    FOLDER/drafts/…        what is being written
    FOLDER/index.sqlite3   what is known of files, uploads and parts
    FOLDER/lock            held by a process while it opens the folder
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from gateway.files.draft import Draft, remove_abandoned, sync_folder
from gateway.files.index import Index
from gateway.files.records import FileRecord, PartRecord


def default_folder(name: str = "files") -> Path:
    """Return this user's folder for files, or for what else is called ``name`` (XDG Base Directory Specification)."""
    data = os.environ.get("XDG_DATA_HOME", "")
    base = Path(data) if Path(data).is_absolute() else Path.home() / ".local" / "share"
    return base / "headgate" / name


class FileFolder:
    """One folder of files. Its methods block, and may be called by any thread; several processes may have it open.

    A file comes into being in this order: written under a temporary name, on the disk, renamed, in the index. It goes
    in the opposite order. So what the index names is always there and whole, and what a crash leaves is named by
    nothing, and removed by the next process that opens the folder. Raises ``OSError`` or ``sqlite3.Error``, as all
    methods do, when it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._drafts = path / "drafts"
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for each in (self._drafts, path / "files", path / "parts"):
            each.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            self.index = Index(path / "index.sqlite3")
            try:
                self._remove_leftovers()
            except BaseException:
                self.index.close()
                raise
        finally:
            os.close(descriptor)

    def __repr__(self) -> str:
        return f"<FileFolder {self._path}>"

    def close(self) -> None:
        """Close the index."""
        self.index.close()

    def draft(self) -> Draft:
        """Begin a file, which is not there before something is written."""
        return Draft(self._drafts)

    def path_of_file(self, file_id: str) -> Path:
        """Return where the content of a file is."""
        return self._path / "files" / file_id

    def path_of_part(self, part_id: str) -> Path:
        """Return where the content of a part is."""
        return self._path / "parts" / part_id

    def keep_file(self, draft: Draft, file: FileRecord, max_bytes: int) -> None:
        """Make a draft a file. Raises ``StorageLimitExceeded``."""
        draft.move_to(self.path_of_file(file.id))
        self.index.add_file(file, max_bytes)
        draft.keep()

    def adopt_file(self, path: Path, file: FileRecord) -> None:
        """Make what was written elsewhere on this disk a file, by another name for it; harmless the second time.

        Who calls it has ``path`` locked, so that what it is named here is not taken for abandoned before the index
        knows it. Results are not refused because their owner has no room: they cannot be asked for again.
        """
        if self.index.has_file(file.id):
            return
        target = self.path_of_file(file.id)
        target.unlink(missing_ok=True)
        os.link(path, target)
        sync_folder(target.parent)
        self.index.add_file(file, max_bytes=0)

    def keep_part(self, draft: Draft, part: PartRecord, max_bytes: int, now: float) -> None:
        """Make a draft a part of an upload. Raises ``UploadNotPending`` or ``StorageLimitExceeded``."""
        draft.move_to(self.path_of_part(part.id))
        self.index.add_part(part, max_bytes, now)
        draft.keep()

    def complete_upload(self, draft: Draft, upload_id: str, file: FileRecord, max_bytes: int, now: float) -> None:
        """Make a draft the file of an upload, in the place of its parts.

        Raises ``UploadNotPending`` or ``StorageLimitExceeded``.
        """
        draft.move_to(self.path_of_file(file.id))
        parts = self.index.complete_upload(upload_id, file, max_bytes, now)
        draft.keep()
        self._unlink(map(self.path_of_part, parts))

    def cancel_upload(self, upload_id: str, now: float) -> None:
        """Cancel an upload, and remove its parts. Raises ``UploadNotPending``."""
        self._unlink(map(self.path_of_part, self.index.cancel_upload(upload_id, now)))

    def remove_file(self, file_id: str) -> bool:
        """Remove a file; return whether it was there. Who reads it can read on."""
        removed = self.index.remove_file(file_id)
        self._unlink([self.path_of_file(file_id)])
        return removed

    def remove_expired(self, now: float) -> int:
        """Remove what has expired; return how many files that were."""
        files, parts = self.index.remove_expired(now)
        self._unlink([*map(self.path_of_file, files), *map(self.path_of_part, parts)])
        return len(files)

    # inside

    def _remove_leftovers(self) -> None:
        """Remove what processes that died have left, and nothing that a living one is writing."""
        for draft in self._drafts.iterdir():
            remove_abandoned(draft, lambda: False)
        self._remove_unknown(self._path / "files", self.index.file_ids(), self.index.has_file)
        self._remove_unknown(self._path / "parts", self.index.part_ids(), self.index.has_part)

    def _remove_unknown(self, folder: Path, known: set[str], is_known: Callable[[str], bool]) -> None:
        """Remove what the index does not name, unless it came to name it meanwhile."""
        for path in folder.iterdir():
            if path.name not in known:
                remove_abandoned(path, lambda name=path.name: is_known(name))  # type: ignore[misc]

    def _unlink(self, paths: Iterable[Path]) -> None:
        for path in paths:
            path.unlink(missing_ok=True)
