"""Files as coroutines: cancelled without half states, refused without them, and gone when their time is over."""

from __future__ import annotations

import asyncio
import resource
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.config.gateway import Files
from gateway.core.errors import (
    BadRequest,
    GatewayError,
    InsufficientStorage,
    ObjectNotFound,
    StorageFailed,
)
from gateway.files.records import FileQuery, FileRecord
from gateway.files.store import FileCounts, FileStore
from tests.kit.eventually import eventually

EXAMPLE = b'{"text":"a","label":"b"}\n'


class Clock:
    """A moment that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000_000.5

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def store(tmp_path: Path, clock: Callable[[], float] | None = None, **settings: Any) -> AsyncIterator[FileStore]:
    opened = FileStore(Files(folder=tmp_path / "f", **settings), FileCounts(), clock or Clock())
    try:
        yield opened
    finally:
        await opened.stop()


async def added(
    files: FileStore, data: bytes = b"abc", owner: str = "", purpose: str = "evals", **more: Any
) -> FileRecord:
    async with files.draft() as draft:
        await files.run(draft.write, data)
        return await files.keep(draft, owner, "a.txt", purpose, more.get("keep_seconds"))


async def content(files: FileStore, file: FileRecord) -> bytes:
    _, reader = await files.content(file.owner, file.id)
    try:
        return b"".join([piece async for piece in pieces(reader.read)])
    finally:
        await reader.close()


async def pieces(read: Callable[[], Any]) -> AsyncIterator[bytes]:
    while piece := await read():
        yield piece


def left(tmp_path: Path) -> list[str]:
    """Return the names of the contents on the disk."""
    return sorted(f"{each.parent.name}/{each.name[:5]}" for each in (tmp_path / "f").glob("*/*"))


@contextmanager
def full_disk(most: int) -> Iterator[None]:
    """Let no file grow beyond ``most`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# files


async def test_a_file_is_kept_for_its_owner(tmp_path: Path) -> None:
    async with store(tmp_path) as files:
        assert repr(files) == f"<FileStore {tmp_path}/f [closed]>"
        file = await added(files, owner="alice")
        assert (file.bytes, file.created_at, file.expires_at) == (3, 1_000_000, None)
        assert await files.file("alice", file.id) == file
        assert await content(files, file) == b"abc"
        for owner, name in (("bob", file.id), ("", file.id), ("alice", "../index.sqlite3"), ("alice", "")):
            with pytest.raises(ObjectNotFound) as missing:
                await files.content(owner, name)
            assert (missing.value.status, missing.value.param) == (404, "id")
        with pytest.raises(ObjectNotFound):
            await files.delete("bob", file.id)
        await files.delete("alice", file.id)
        assert left(tmp_path) == []
    assert files.counts == FileCounts(received_bytes=3, sent_bytes=3)


async def test_a_result_is_there_once_however_often_it_is_kept_and_beyond_its_owners_room(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_bytes(b"step\n1\n")
    async with store(tmp_path, max_bytes=4) as files:
        for _ in range(2):
            await files.keep_result("alice", "file-1", "a.csv", "fine-tune-results", tmp_path / "metrics.csv")
        (file,) = await files.files("alice", FileQuery())
        assert (file.id, file.filename, file.purpose, file.expires_at) == ("file-1", "a.csv", "fine-tune-results", None)
        assert await content(files, file) == (await files.path_of(file)).read_bytes() == b"step\n1\n"


async def test_nothing_is_made_before_it_is_needed(tmp_path: Path) -> None:
    async with store(tmp_path) as files:
        files.start()
        await files.sweep()
    assert not (tmp_path / "f").exists()


async def test_files_that_have_expired_are_not_shown_and_then_removed(tmp_path: Path) -> None:
    clock = Clock()
    async with store(tmp_path, clock) as files:
        short, long = await added(files, keep_seconds=3_600), await added(files, purpose="batch")
        assert (short.expires_at, long.expires_at) == (1_003_600, 1_000_000 + 30 * 24 * 3_600)
        clock.now = 1_003_599.9
        assert [each.id for each in await files.files("", FileQuery())] == [long.id, short.id]
        clock.now = 1_003_600.0
        assert [each.id for each in await files.files("", FileQuery())] == [long.id]
        with pytest.raises(ObjectNotFound):
            await files.file("", short.id)
        assert len(left(tmp_path)) == 2
        await files.sweep()
        assert len(left(tmp_path)) == 1
    assert files.counts.expired == 1


async def test_a_sweep_comes_by_itself_also_after_a_restart(tmp_path: Path) -> None:
    clock = Clock()
    async with store(tmp_path, clock) as files:
        await added(files, keep_seconds=3_600)
    clock.now += 3_600
    async with store(tmp_path, clock) as files:
        files.start()
        await eventually(lambda: files.counts.expired == 1)
    assert left(tmp_path) == []


async def test_a_file_that_is_deleted_can_be_read_to_its_end(tmp_path: Path) -> None:
    async with store(tmp_path) as files:
        file = await added(files, bytes(1_000_000))
        _, reader = await files.content("", file.id)
        first = await reader.read()
        await files.delete("", file.id)
        rest = [piece async for piece in pieces(reader.read)]
        assert len(first) + sum(map(len, rest)) == 1_000_000
        await reader.close()


# what goes wrong


async def test_an_error_or_a_cancellation_leaves_nothing(tmp_path: Path) -> None:
    async with store(tmp_path) as files:

        async def refused() -> None:
            async with files.draft() as draft:
                await files.run(draft.write, b"half")
                raise BadRequest("No.")

        with pytest.raises(BadRequest):
            await refused()
        begun = asyncio.Event()

        async def stuck() -> None:
            async with files.draft() as draft:
                await files.run(draft.write, b"half")
                begun.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(stuck())
        await begun.wait()
        assert left(tmp_path) == ["drafts/draft"]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert left(tmp_path) == []


async def test_what_runs_on_a_thread_is_over_before_a_cancellation_goes_on(tmp_path: Path) -> None:
    running, go_on, done = threading.Event(), threading.Event(), []

    def slow() -> None:
        running.set()
        go_on.wait(10)
        done.append("over")

    async with store(tmp_path) as files:
        task = asyncio.create_task(files.run(slow))
        await eventually(running.is_set)
        for _ in range(2):
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done == ["over"]


async def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with store(tmp_path) as files:
        kept = await added(files)
        with full_disk(200_000), pytest.raises(InsufficientStorage, match="no room"):
            await added(files, bytes(300_000))
        assert left(tmp_path) == [f"files/{kept.id[:5]}"]
        assert "File too large" in caplog.text
        await added(files, bytes(300_000))


async def test_a_folder_that_cannot_be_used_is_told_and_tried_again(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"in the way")
    async with store(tmp_path) as files:
        for act in (added(files), files.files("", FileQuery())):
            with pytest.raises(StorageFailed, match=r"gateway\.files\.folder\) cannot be used: ") as failed:
                await act
            assert str(tmp_path) not in failed.value.message
        (tmp_path / "f").unlink()
        await added(files)


async def test_a_content_that_is_lost_is_a_failure_of_the_storage(tmp_path: Path) -> None:
    async with store(tmp_path) as files:
        file = await added(files)
        (tmp_path / "f" / "files" / file.id).unlink()
        with pytest.raises(StorageFailed, match="No such file"):
            await files.content("", file.id)


async def test_the_room_of_an_owner(tmp_path: Path) -> None:
    async with store(tmp_path, max_bytes=10) as files:
        assert await files.room("a") == 10
        await added(files, b"1234", owner="a")
        assert (await files.room("a"), await files.room("b")) == (6, 10)
        with pytest.raises(GatewayError, match="delete some first"):
            await added(files, b"1234567", owner="a")
        assert len(left(tmp_path)) == 1
    async with store(tmp_path, max_bytes=0) as files:
        assert await files.room("a") is None
