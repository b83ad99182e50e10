"""Files that come in parts, which are put together when all of them are there."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path

from gateway.core.errors import BadRequest, ObjectNotFound, StorageFailed
from gateway.files.draft import Draft
from gateway.files.index import not_pending
from gateway.files.purposes import line_check
from gateway.files.records import FileRecord, PartRecord, UploadRecord, new_id
from gateway.files.store import FileStore

UPLOAD_SECONDS = 3600
"""How long an upload may take, from its creation to its completion."""

_PIECE = 4 * 1024 * 1024


class Uploads:
    """The uploads to a store of files. All coroutines raise ``StorageFailed`` as those of the store do."""

    def __init__(self, files: FileStore) -> None:
        self._files = files

    def __repr__(self) -> str:
        return f"<Uploads to {self._files!r}>"

    async def create(
        self, owner: str, size: int, filename: str, purpose: str, keep_seconds: int | None
    ) -> UploadRecord:
        """Begin a file that comes in parts."""
        folder = await self._files.folder()
        now = int(self._files.clock())
        upload = UploadRecord(
            new_id("upload_"), owner, size, now, now + UPLOAD_SECONDS, filename, purpose, keep_seconds
        )
        await self._files.run(folder.index.add_upload, upload)
        return upload

    async def pending(self, owner: str, upload_id: str) -> UploadRecord:
        """Find an upload that is under way. Raises ``ObjectNotFound`` or ``UploadNotPending``."""
        folder = await self._files.folder()
        upload = await self._files.run(folder.index.upload, owner, upload_id, self._files.clock())
        if upload is None:
            raise ObjectNotFound(f"There is no upload {upload_id[:100]!r}.", param="upload_id")
        if upload.status != "pending":
            raise not_pending(upload.id, upload.status)
        return upload

    async def keep_part(self, draft: Draft, upload: UploadRecord) -> PartRecord:
        """Make a draft a part of an upload. Raises ``UploadNotPending`` or ``StorageLimitExceeded``."""
        folder = await self._files.folder()
        part = PartRecord(new_id("part_"), upload.id, draft.bytes, int(self._files.clock()))
        await self._files.run(folder.keep_part, draft, part, self._files.settings.max_bytes, self._files.clock())
        self._files.counts.received_bytes += part.bytes
        return part

    async def complete(self, upload: UploadRecord, part_ids: Sequence[str], md5: str | None = None) -> FileRecord:
        """Put the parts of an upload together to a file, in this order.

        Raises ``BadRequest`` if they are not what was announced, ``InvalidFile`` or ``UploadNotPending``; the upload
        stays as it was then.
        """
        folder = await self._files.folder()
        parts = _chosen(await self._files.run(folder.index.parts, upload.id), part_ids, upload.bytes)
        async with self._files.draft() as draft:
            joining = _joined(draft, [folder.path_of_part(part.id) for part in parts], upload.purpose, md5)
            try:
                while await self._files.run(next, joining, None):
                    pass
            except StorageFailed:
                # Whoever has cancelled the upload meanwhile has removed its parts.
                await self.pending(upload.owner, upload.id)
                raise
            finally:
                await self._files.run(joining.close)
            file = self._files.new_file(upload.owner, draft.bytes, upload.filename, upload.purpose, upload.keep_seconds)
            most = self._files.settings.max_bytes
            await self._files.run(folder.complete_upload, draft, upload.id, file, most, self._files.clock())
        return file

    async def cancel(self, upload: UploadRecord) -> None:
        """Cancel an upload, and remove its parts. Raises ``UploadNotPending``."""
        folder = await self._files.folder()
        await self._files.run(folder.cancel_upload, upload.id, self._files.clock())


def _chosen(parts: Iterable[PartRecord], part_ids: Sequence[str], size: int) -> list[PartRecord]:
    """Return the parts of a file in their order. Raises ``BadRequest`` if they do not make up the file."""
    known = {part.id: part for part in parts}
    for part_id in part_ids:
        if part_id not in known:
            raise BadRequest(f"The upload has no part {part_id[:100]!r}.", param="part_ids")
    if len(set(part_ids)) < len(part_ids):
        raise BadRequest("A part is named more than once.", param="part_ids")
    chosen = [known[part_id] for part_id in part_ids]
    total = sum(part.bytes for part in chosen)
    if total != size:
        raise BadRequest(f"The parts have {total} bytes, but the upload was created for {size}.", param="part_ids")
    return chosen


def _joined(draft: Draft, paths: Sequence[Path], purpose: str, md5: str | None) -> Generator[int, None, None]:
    """Write files one behind the other, a piece at each step, and look at what they hold. Blocks.

    Raises ``BadRequest`` if the whole has another digest, or ``InvalidFile``.
    """
    check, digest = line_check(purpose), hashlib.md5(usedforsecurity=False)
    for path in paths:
        with path.open("rb", buffering=0) as part:
            while piece := part.read(_PIECE):
                draft.write(piece)
                digest.update(piece)
                if check is not None:
                    check.feed(piece)
                yield len(piece)
    if check is not None:
        check.finish()
    if md5 is not None and md5.lower() != digest.hexdigest():
        raise BadRequest(f"The file's MD5 is {digest.hexdigest()}, not {md5[:100]!r}.", param="md5")
