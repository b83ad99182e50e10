"""Batches are found by their owners, listed in pages, and changed only from the status that is expected."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.batches.index import BatchIndex
from gateway.batches.records import Batch, BatchQuery, BatchStatus
from gateway.core.errors import TooManyBatches

VALIDATING: tuple[BatchStatus, ...] = ("validating",)
IN_PROGRESS: tuple[BatchStatus, ...] = ("in_progress",)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[BatchIndex]:
    opened = BatchIndex(tmp_path / "index")
    yield opened
    opened.close()


def batch(number: int, owner: str = "alice") -> Batch:
    return Batch(f"batch_{number}", owner, "/v1/embeddings", "file-1", "24h", 1, 2, metadata={"a": "b"})


def test_what_was_added_is_found_by_its_owner_alone(index: BatchIndex) -> None:
    index.add(batch(1), 0)
    assert index.find("alice", "batch_1") == batch(1)
    assert index.find("bob", "batch_1") is None
    assert index.listed("bob", BatchQuery(after="batch_1")) is None


def test_pages_have_the_newest_first(index: BatchIndex) -> None:
    for number in range(5):
        index.add(batch(number), 0)
    ids = [each.id for each in index.listed("alice", BatchQuery(2)) or ()]
    assert ids == ["batch_4", "batch_3"]
    assert [each.id for each in index.listed("alice", BatchQuery(9, "batch_3")) or ()] == [
        "batch_2",
        "batch_1",
        "batch_0",
    ]


def test_a_change_happens_only_from_the_statuses_it_is_for(index: BatchIndex, tmp_path: Path) -> None:
    index.add(batch(1), 0)
    changed, happened = index.change("batch_1", VALIDATING, {"status": "in_progress"})
    assert (changed.status, happened) == ("in_progress", True)
    changed, happened = index.change("batch_1", VALIDATING, {"status": "failed"})
    assert (changed.status, happened) == ("in_progress", False)
    assert index.under_way() == [changed]
    index.change("batch_1", IN_PROGRESS, {"status": "completed"})
    assert index.under_way() == []
    index.close()
    again = BatchIndex(tmp_path / "index")
    found = again.find("alice", "batch_1")
    assert found is not None
    assert found.status == "completed"
    again.close()


def test_those_under_way_are_limited_and_those_that_have_ended_are_not(index: BatchIndex) -> None:
    index.add(batch(1), 1)
    index.add(batch(2, "bob"), 1)
    with pytest.raises(TooManyBatches, match=r"as many as may be \(batches\.max_batches\)"):
        index.add(batch(3), 1)
    index.change("batch_1", VALIDATING, {"status": "failed"})
    index.add(batch(3), 1)


def test_an_index_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "index")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(OSError, match="later version"):
        BatchIndex(tmp_path / "index")
