"""The batches of all clients, as coroutines: begun, shown, listed and cancelled."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from threading import Lock
from time import time
from typing import Any

from gateway.batches.folder import BatchFolder
from gateway.batches.records import Batch, BatchQuery, BatchStatus, window_seconds
from gateway.config.gateway import Batches
from gateway.core.errors import BadRequest, BatchEnded, ObjectNotFound, StorageLimitExceeded
from gateway.files.records import FileRecord, new_id
from gateway.files.store import FileStore

_FOLDER = "batches"
"""Where batches are, within the folder of files: on the same disk, so that a file can have a name in both."""


class BatchStore:
    """Keeps batches for their owners, who see only their own. An owner is the id of a key, or nothing without keys.

    ``clock`` gives seconds since 1970. All coroutines raise ``StorageFailed`` when the disk does not do its part.
    ``changed`` is called when there is something to do for who runs the batches.
    """

    def __init__(self, files: FileStore, settings: Batches, clock: Callable[[], float] = time) -> None:
        self.files = files
        self.settings = settings
        self.clock = clock
        self.changed: Callable[[], None] = lambda: None
        self._path = files.path / _FOLDER
        self._opening = Lock()
        self._opened: BatchFolder | None = None

    def __repr__(self) -> str:
        return f"<BatchStore {self._path} [{'closed' if self._opened is None else 'open'}]>"

    async def folder(self) -> BatchFolder:
        """Open the folder, and make it where it is missing."""
        return await self.files.run(self._open)

    async def folder_if_any(self) -> BatchFolder | None:
        """Open the folder if there has ever been a batch."""
        return await self.files.run(self._open_if_any)

    async def stop(self) -> None:
        """Close the folder; harmless where it was never opened."""
        if self._opened is not None:
            await self.files.run(self._opened.close)
            self._opened = None

    async def create(
        self,
        owner: str,
        input_file_id: str,
        endpoint: str,
        window: str,
        metadata: Mapping[str, str] | None = None,
        keep_seconds: int | None = None,
    ) -> Batch:
        """Begin a batch. Raises ``BadRequest``, ``ObjectNotFound`` or ``TooManyBatches``, and leaves nothing then."""
        seconds = window_seconds(window)
        file = await self._input(owner, input_file_id)
        folder = await self.folder()
        now = int(self.clock())
        batch = Batch(
            new_id("batch_"),
            owner,
            endpoint,
            file.id,
            window,
            now,
            now + seconds,
            metadata=metadata,
            keep_seconds=keep_seconds,
        )
        await self.files.run(folder.begin, batch.id, await self.files.path_of(file))
        try:
            await self.files.run(folder.index.add, batch, self.settings.max_batches)
        except BaseException:
            await self.files.run(folder.discard, batch.id)
            raise
        self.changed()
        return batch

    async def batch(self, owner: str, batch_id: str) -> Batch:
        """Find a batch. Raises ``ObjectNotFound``."""
        folder = await self.folder_if_any()
        found = None if folder is None else await self.files.run(folder.index.find, owner, batch_id)
        if found is None:
            raise ObjectNotFound(f"There is no batch {batch_id[:100]!r}.", param="batch_id")
        return found

    async def batches(self, owner: str, query: BatchQuery) -> Sequence[Batch]:
        """List batches. Raises ``BadRequest`` if there is no batch ``after`` which to begin."""
        folder = await self.folder_if_any()
        found = None if folder is None else await self.files.run(folder.index.listed, owner, query)
        if found is None:
            if query.after is None:
                return []
            raise BadRequest(f"There is no batch {query.after[:100]!r} after which to begin.", param="after")
        return found

    async def cancel(self, owner: str, batch_id: str) -> Batch:
        """Let a batch end; a second time changes nothing. Raises ``ObjectNotFound`` or ``BatchEnded``."""
        batch = await self.batch(owner, batch_id)
        changes = {"status": "cancelling", "cancelling_at": int(self.clock())}
        batch, changed = await self.change(batch, ("validating", "in_progress"), **changes)
        if not changed and batch.status != "cancelling":
            raise BatchEnded(f"The batch {batch.id!r} is {batch.status}, and cannot be cancelled.", param="batch_id")
        self.changed()
        return batch

    async def change(self, batch: Batch, only: Collection[BatchStatus], **changes: Any) -> tuple[Batch, bool]:
        """Change fields of a batch if it has one of the statuses ``only``; return it, and whether it had."""
        folder = await self.folder()
        return await self.files.run(folder.index.change, batch.id, only, changes)

    # inside

    async def _input(self, owner: str, file_id: str) -> FileRecord:
        """Find the file of a new batch. Raises ``ObjectNotFound``, ``BadRequest`` or ``StorageLimitExceeded``."""
        try:
            file = await self.files.file(owner, file_id)
        except ObjectNotFound as error:
            raise ObjectNotFound(error.message, param="input_file_id") from None
        if file.purpose != "batch":
            raise BadRequest(
                f"The file {file.id!r} was uploaded for {file.purpose!r}; upload it with the purpose 'batch'.",
                param="input_file_id",
            )
        most = self.files.settings.max_bytes
        if await self.files.room(owner) == 0:
            raise StorageLimitExceeded(
                f"Your files take {most} bytes (files.max_bytes), and there is no room for results; delete some first."
            )
        return file

    def _open(self) -> BatchFolder:
        with self._opening:
            if self._opened is None:
                self._opened = BatchFolder(self._path)
            return self._opened

    def _open_if_any(self) -> BatchFolder | None:
        return self._open() if self._opened is not None or self._path.exists() else None
