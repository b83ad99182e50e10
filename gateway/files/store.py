"""The files of all clients, as coroutines: what blocks runs on threads, so that the event loop waits for no disk."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from time import time
from typing import TypeVar, TypeVarTuple

from gateway.config.gateway import Files
from gateway.core.errors import BadRequest, ObjectNotFound, StorageFailed
from gateway.core.tasks import cancelled
from gateway.files.draft import Draft
from gateway.files.failures import storage_error
from gateway.files.folder import FileFolder, default_folder
from gateway.files.purposes import kept_for
from gateway.files.reader import FileReader
from gateway.files.records import FileQuery, FileRecord, new_id

_LOG = logging.getLogger(__name__)

SWEEP_SECONDS = 60.0
"""How often what has expired is removed from the disk; it is not shown from the moment on."""

_THREADS = 4

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


@dataclass(slots=True)
class FileCounts:
    """What is counted of files: bytes that came and went, and files whose time was over."""

    received_bytes: int = 0
    sent_bytes: int = 0
    expired: int = 0

    def add(self, other: FileCounts) -> None:
        """Count what another process has counted."""
        self.received_bytes += other.received_bytes
        self.sent_bytes += other.sent_bytes
        self.expired += other.expired


class FileStore:
    """Keeps files for their owners, who see only their own. An owner is the id of a key, or nothing without keys.

    The folder is opened, and made, when it is first needed. ``clock`` gives seconds since 1970. All coroutines raise
    ``StorageFailed`` or ``InsufficientStorage`` when the disk does not do its part.
    """

    def __init__(self, settings: Files, counts: FileCounts, clock: Callable[[], float] = time) -> None:
        self.settings = settings
        self.counts = counts
        self.path = settings.folder or default_folder()
        """The folder."""
        self.clock = clock
        """What tells the time."""
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="files")
        self._opening = Lock()
        self._opened: FileFolder | None = None
        self._sweeping: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<FileStore {self.path} [{'closed' if self._opened is None else 'open'}]>"

    def start(self) -> None:
        """Tidy up from now on: what has expired, and what a crash has left."""
        self._sweeping = asyncio.get_running_loop().create_task(self._sweep_for_ever())

    async def stop(self) -> None:
        """Close the folder, once nothing is under way any more; harmless before the start."""
        if self._sweeping is not None:
            await cancelled([self._sweeping])
        if self._opened is not None:
            await self.run(self._opened.close)
            self._opened = None
        self._threads.shutdown()

    async def run(self, function: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        """Run what blocks on a thread, and wait until it is over, also when cancelled: nothing is closed under it."""
        work = asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
        interrupted: asyncio.CancelledError | None = None
        while not work.done():
            try:
                await asyncio.wait([work])
            except asyncio.CancelledError as error:
                interrupted = error
        if interrupted is not None:
            work.exception()
            raise interrupted
        try:
            return work.result()
        except (OSError, sqlite3.Error) as cause:
            _LOG.error("files in %s: %s", self.path, cause)
            raise storage_error(cause) from cause

    async def folder(self) -> FileFolder:
        """Give the folder, opened. What its methods do blocks: ``run`` them."""
        return await self.run(self._open)

    # files

    @asynccontextmanager
    async def draft(self) -> AsyncIterator[Draft]:
        """Begin a file, which goes away at the end unless it was kept. Its methods block: ``run`` them."""
        folder = await self.folder()
        draft = folder.draft()
        try:
            yield draft
        finally:
            await self.run(draft.close)

    async def room(self, owner: str) -> int | None:
        """Tell how many bytes an owner may still add; ``None``: any number."""
        most = self.settings.max_bytes
        if not most:
            return None
        folder = await self.folder()
        return max(0, most - await self.run(folder.index.used, owner))

    async def keep(self, draft: Draft, owner: str, filename: str, purpose: str, keep_seconds: int | None) -> FileRecord:
        """Make a draft a file of an owner. Raises ``StorageLimitExceeded``."""
        folder = await self.folder()
        file = self.new_file(owner, draft.bytes, filename, purpose, keep_seconds)
        await self.run(folder.keep_file, draft, file, self.settings.max_bytes)
        self.counts.received_bytes += file.bytes
        return file

    def new_file(self, owner: str, size: int, filename: str, purpose: str, keep_seconds: int | None) -> FileRecord:
        """Describe a file that is about to be kept, with when it expires."""
        now, kept = int(self.clock()), kept_for(purpose, keep_seconds)
        return FileRecord(new_id("file-"), owner, size, now, None if kept is None else now + kept, filename, purpose)

    async def keep_result(self, owner: str, file_id: str, filename: str, purpose: str, source: Path) -> None:
        """Keep what the gateway has made for an owner, whatever room that has left; the second time nothing happens.

        The result gets an id that is known before, so that it is there once where its making is begun anew.
        """
        folder = await self.folder()
        if await self.run(folder.index.has_file, file_id):
            return
        async with self.draft() as draft:
            await self.run(lambda: draft.write(source.read_bytes()))
            file = FileRecord(file_id, owner, draft.bytes, int(self.clock()), None, filename, purpose)
            await self.run(folder.keep_file, draft, file, 0)

    async def file(self, owner: str, file_id: str) -> FileRecord:
        """Find a file. Raises ``ObjectNotFound``."""
        folder = await self.folder()
        file = await self.run(folder.index.file, owner, file_id, self.clock())
        if file is None:
            raise ObjectNotFound(f"There is no file {file_id[:100]!r}.", param="id")
        return file

    async def files(self, owner: str, query: FileQuery) -> Sequence[FileRecord]:
        """List files. Raises ``BadRequest`` if there is no file ``after`` which to begin."""
        folder = await self.folder()
        files = await self.run(folder.index.files, owner, query, self.clock())
        if files is None:
            raise BadRequest(f"There is no file {str(query.after)[:100]!r} after which to begin.", param="after")
        return files

    async def content(self, owner: str, file_id: str) -> tuple[FileRecord, FileReader]:
        """Open a file. The reader is to be closed. Raises ``ObjectNotFound``."""
        file = await self.file(owner, file_id)
        folder = await self.folder()
        reader = FileReader(folder.path_of_file(file.id), file.bytes, self._read)
        try:
            await self.run(reader.open)
        except BaseException:
            await reader.close()
            raise
        return file, reader

    async def path_of(self, file: FileRecord) -> Path:
        """Return where the content of a file is, as long as nobody deletes it."""
        return (await self.folder()).path_of_file(file.id)

    async def adopt(self, path: Path, file: FileRecord) -> None:
        """Make what was written and locked elsewhere on the same disk a file; harmless the second time."""
        folder = await self.folder()
        await self.run(folder.adopt_file, path, file)

    async def delete(self, owner: str, file_id: str) -> None:
        """Delete a file; who reads it can read on. Raises ``ObjectNotFound``."""
        file = await self.file(owner, file_id)
        folder = await self.folder()
        if not await self.run(folder.remove_file, file.id):
            raise ObjectNotFound(f"There is no file {file_id[:100]!r} any more.", param="id")

    # what has expired

    async def sweep(self) -> None:
        """Remove what has expired, if there is a folder at all."""
        self.counts.expired += await self.run(self._sweep)

    # inside

    def _open(self) -> FileFolder:
        with self._opening:
            if self._opened is None:
                self._opened = FileFolder(self.path)
            return self._opened

    def _sweep(self) -> int:
        if self._opened is None and not self.path.exists():
            return 0
        return self._open().remove_expired(self.clock())

    async def _sweep_for_ever(self) -> None:
        while True:
            # What fails is in the log, and is tried again.
            with suppress(StorageFailed):
                await self.sweep()
            await asyncio.sleep(SWEEP_SECONDS)

    async def _read(self, read: Callable[[], bytes]) -> bytes:
        piece = await self.run(read)
        self.counts.sent_bytes += len(piece)
        return piece
