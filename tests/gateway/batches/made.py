"""Batches as tests make them: files on a disk, a clock that is moved, and lines that a test answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gateway.batches.counts import BatchCounts
from gateway.batches.records import Batch
from gateway.batches.runner import Answer, BatchRunner
from gateway.batches.store import BatchStore
from gateway.config.gateway import Batches, Files
from gateway.core.errors import GatewayError, ModelNotFound
from gateway.core.keys import ANYONE, Key
from gateway.files.records import FileRecord
from gateway.files.store import FileCounts, FileStore
from gateway.pools.pool import Pool
from tests.gateway.pools.made import pool, replica

CHAT = "/v1/chat/completions"


class Clock:
    """A moment that a test moves, in seconds since 1970."""

    def __init__(self) -> None:
        self.now = 1_000_000.5

    def __call__(self) -> float:
        return self.now


def line(custom_id: str, /, **changes: Any) -> dict[str, Any]:
    """Write a good line, but for the changes."""
    return {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": {"model": "m"}, **changes}


def jsonl(lines: Sequence[dict[str, Any]]) -> bytes:
    """Write lines."""
    return b"".join(json.dumps(each).encode() + b"\n" for each in lines)


class Asked:
    """Answers lines as the test says, with 200 unless there is another status to give."""

    def __init__(self, made: Pool | None = None) -> None:
        self.pool = pool("m", replica("a")) if made is None else made
        self.bodies: list[bytes] = []
        self.ids: list[str] = []
        self.statuses: list[int | GatewayError] = []
        """How the next lines are answered."""
        self.gate = asyncio.Event()
        """Closed, lines wait for their answers."""
        self.gate.set()
        self.waiting = 0
        self.key: Key | None = ANYONE

    def key_of(self, owner: str) -> Key | None:
        return self.key

    def model_of(self, key: Key, endpoint: str, name: str | None) -> str:
        if name != "m":
            raise ModelNotFound(f"no {name!r}")
        return name

    def pool_of(self, model: str) -> Pool | None:
        return self.pool if model == "m" else None

    async def ask(self, key: Key, endpoint: str, request_id: str, body: bytes) -> Answer:
        self.bodies.append(body)
        self.waiting += 1
        try:
            await self.gate.wait()
        finally:
            self.waiting -= 1
        status = self.statuses.pop(0) if self.statuses else 200
        error = None if isinstance(status, int) else status
        return Answer(status if isinstance(status, int) else status.status, b'{"a":1}', error, 0.01, 1)


class Running:
    """A folder of batches, and what runs them."""

    def __init__(self, tmp_path: Path, asker: Asked, clock: Clock, **settings: Any) -> None:
        self.files = FileStore(Files(folder=tmp_path / "f"), FileCounts(), clock)
        self.store = BatchStore(self.files, Batches(**settings), clock)
        self.asker = asker
        self.counts = BatchCounts()
        self.runner = BatchRunner(self.store, asker, self.counts)
        self.clock = clock

    async def uploaded(self, content: bytes, purpose: str = "batch") -> FileRecord:
        async with self.files.draft() as draft:
            await self.files.run(draft.write, content)
            return await self.files.keep(draft, "", "in.jsonl", purpose, None)

    async def begun(self, content: bytes, window: str = "24h") -> Batch:
        file = await self.uploaded(content)
        return await self.store.create("", file.id, CHAT, window)

    async def until(self, batch: Batch, *statuses: str) -> Batch:
        """Wait until a batch has one of these statuses."""
        async with asyncio.timeout(20):
            while (batch := await self.store.batch("", batch.id)).status not in statuses:  # noqa: ASYNC110 - looked at now and then
                await asyncio.sleep(0.01)
        return batch

    async def results(self, file_id: str | None) -> list[dict[str, Any]]:
        if file_id is None:
            return []
        _, reader = await self.files.content("", file_id)
        content = b""
        try:
            while piece := await reader.read():
                content += piece
        finally:
            await reader.close()
        return [json.loads(each) for each in content.splitlines()]

    async def stop(self) -> None:
        await self.runner.stop()
        await self.files.stop()


@asynccontextmanager
async def running(
    tmp_path: Path, asker: Asked | None = None, clock: Clock | None = None, **settings: Any
) -> AsyncIterator[Running]:
    """Run batches until the block ends."""
    made = Running(tmp_path, asker or Asked(), clock or Clock(), **settings)
    made.runner.start()
    try:
        yield made
    finally:
        await made.stop()
