"""The parts of an upload become the file that was announced, or nothing at all."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from gateway.core.errors import BadRequest, InvalidFile, ObjectNotFound, StorageFailed, UploadNotPending
from gateway.files.records import UploadRecord
from gateway.files.store import FileStore
from gateway.files.uploads import Uploads
from tests.gateway.files.test_store import EXAMPLE, Clock, content, left, store


async def parts(files: FileStore, upload: UploadRecord, *contents: bytes) -> list[str]:
    found = []
    for each in contents:
        async with files.draft() as draft:
            await files.run(draft.write, each)
            found.append((await Uploads(files).keep_part(draft, upload)).id)
    return found


async def begun(files: FileStore, size: int, purpose: str = "evals", keep_seconds: int | None = None) -> UploadRecord:
    return await Uploads(files).create("", size, "a.txt", purpose, keep_seconds)


async def test_parts_become_a_file_in_the_order_in_which_they_are_named(tmp_path: Path) -> None:
    async with store(tmp_path) as files:
        upload = await begun(files, 6, keep_seconds=3_600)
        assert upload.expires_at == 1_003_600
        one, two, _ = await parts(files, upload, b"def", b"abc", b"sent twice")
        file = await Uploads(files).complete(upload, [two, one], hashlib.md5(b"abcdef").hexdigest().upper())
        assert await content(files, file) == b"abcdef"
        assert (file.filename, file.purpose, file.expires_at) == ("a.txt", "evals", 1_003_600)
        assert left(tmp_path) == ["files/file-"]
        with pytest.raises(UploadNotPending, match="is completed"):
            await Uploads(files).pending("", upload.id)


@pytest.mark.parametrize(
    ("names", "md5", "param", "reason"),
    [
        ("a", None, "part_ids", "The parts have 3 bytes, but the upload was created for 6"),
        ("aa", None, "part_ids", "more than once"),
        ("abx", None, "part_ids", "has no part"),
        ("ab", "0" * 32, "md5", "The file's MD5 is "),
    ],
)
async def test_parts_that_are_not_the_file_that_was_announced(
    tmp_path: Path, names: str, md5: str | None, param: str, reason: str
) -> None:
    async with store(tmp_path) as files:
        upload = await begun(files, 6)
        ids = dict(zip("ab", await parts(files, upload, b"abc", b"def"), strict=True))
        with pytest.raises(BadRequest, match=reason) as refused:
            await Uploads(files).complete(upload, [ids.get(name, name) for name in names], md5)
        assert refused.value.param == param
        # It can be completed all the same.
        assert (await Uploads(files).complete(upload, list(ids.values()))).bytes == 6


async def test_what_an_upload_holds_is_looked_at(tmp_path: Path) -> None:
    async with store(tmp_path) as files:
        upload = await begun(files, 2 * len(EXAMPLE) + 3, "fine-tune")
        ids = await parts(files, upload, EXAMPLE[:9], EXAMPLE[9:] + EXAMPLE, b"{}\n")
        with pytest.raises(InvalidFile, match="line 3: expected"):
            await Uploads(files).complete(upload, ids)
        assert left(tmp_path) == ["parts/part_"] * 3


async def test_an_upload_that_is_cancelled_or_expired_is_gone(tmp_path: Path) -> None:
    clock = Clock()
    async with store(tmp_path, clock) as files:
        cancelled, late = await begun(files, 3), await begun(files, 3)
        for each in (cancelled, late):
            await parts(files, each, b"abc")
        await Uploads(files).cancel(cancelled)
        clock.now += 3_600
        for upload, status in ((cancelled, "cancelled"), (late, "expired")):
            with pytest.raises(UploadNotPending, match=f"is {status}"):
                await Uploads(files).pending("", upload.id)
        await files.sweep()
        assert left(tmp_path) == []
        with pytest.raises(ObjectNotFound):
            await Uploads(files).pending("bob", late.id)


async def test_an_upload_that_is_cancelled_while_it_is_completed(tmp_path: Path) -> None:
    async with store(tmp_path) as files:
        upload = await begun(files, 3)
        ids = await parts(files, upload, b"abc")
        await Uploads(files).cancel(upload)
        with pytest.raises(BadRequest, match="has no part"):
            await Uploads(files).complete(upload, ids)
        other = await begun(files, 3)
        ids = await parts(files, other, b"abc")
        (tmp_path / "f" / "parts" / ids[0]).unlink()
        with pytest.raises(StorageFailed):
            await Uploads(files).complete(other, ids)
