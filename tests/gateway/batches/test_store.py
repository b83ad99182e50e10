"""Batches as clients ask for them: begun whole or not at all, and ended by their owners alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.batches.records import UNDER_WAY, BatchQuery
from gateway.core.errors import BadRequest, BatchEnded, ObjectNotFound, TooManyBatches
from tests.gateway.batches.made import CHAT, Asked, Clock, Running, jsonl, line


async def test_nothing_is_made_before_there_is_a_batch(tmp_path: Path) -> None:
    made = Running(tmp_path, Asked(), Clock())
    assert await made.store.batches("", BatchQuery()) == []
    with pytest.raises(ObjectNotFound, match="no batch 'batch_1'"):
        await made.store.batch("", "batch_1")
    with pytest.raises(BadRequest, match="after which to begin"):
        await made.store.batches("", BatchQuery(after="batch_1"))
    assert not (tmp_path / "f").exists()
    await made.stop()


async def test_a_batch_that_is_refused_leaves_nothing(tmp_path: Path) -> None:
    made = Running(tmp_path, Asked(), Clock(), max_batches=1)
    file = await made.uploaded(jsonl([line("a")]))
    await made.store.create("", file.id, CHAT, "24h")
    before = sorted((tmp_path / "f" / "batches").glob("batch_*"))
    with pytest.raises(TooManyBatches):
        await made.store.create("", file.id, CHAT, "24h")
    assert sorted((tmp_path / "f" / "batches").glob("batch_*")) == before
    await made.stop()


async def test_a_batch_is_cancelled_once_and_one_that_has_ended_is_not(tmp_path: Path) -> None:
    made = Running(tmp_path, Asked(), Clock())
    batch = await made.begun(jsonl([line("a")]))
    with pytest.raises(ObjectNotFound):
        await made.store.cancel("bob", batch.id)
    cancelled = await made.store.cancel("", batch.id)
    assert (cancelled.status, cancelled.cancelling_at) == ("cancelling", 1_000_000)
    assert await made.store.cancel("", batch.id) == cancelled
    await made.store.change(cancelled, UNDER_WAY, status="cancelled")
    with pytest.raises(BatchEnded, match="is cancelled"):
        await made.store.cancel("", batch.id)
    await made.stop()
