"""Jobs, their events and their checkpoints are on the disk, in order, and whole."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines.tuning.errors import TuningError
from engines.tuning.records import Checkpoint, Event, Job
from engines.tuning.store import Store
from tests.kit.tuning import order


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "jobs.sqlite3")
    yield opened
    opened.close()


def job(folder: Path, number: int, owner: str = "", **other: object) -> Job:
    ordered = order(folder, owner=owner, metadata={"number": str(number % 2)})
    return Job(id=f"ftjob-{number}", name=f"ft:base:{number}", order=ordered, created_at=number, **other)  # type: ignore[arg-type]


def test_what_was_saved_is_there_when_it_is_opened_again(tmp_path: Path, store: Store) -> None:
    kept = job(tmp_path, 1)
    store.add(kept, Event(1.0, "created"))
    kept.status, kept.stage = "succeeded", "done"
    store.save(kept, Event(2.0, "done", data={"step": 1}), checkpoints=[Checkpoint(5, 1.5, {"train_loss": 0.5})])
    store.close()
    again = Store(tmp_path / "jobs.sqlite3")
    try:
        assert again.find("ftjob-1") == kept
        assert [event.message for event in again.events("ftjob-1", 10, None)[0]] == ["done", "created"]
        assert [each.step for each in again.checkpoints("ftjob-1", 10, None)[0]] == [5]
    finally:
        again.close()


def test_jobs_are_listed_newest_first_in_pages_of_their_owner(tmp_path: Path, store: Store) -> None:
    for number in range(5):
        store.add(job(tmp_path, number, owner="a" if number < 4 else "b"))
    first, more = store.page("a", 3, None)
    assert ([each.id for each in first], more) == (["ftjob-3", "ftjob-2", "ftjob-1"], True)
    rest, more = store.page("a", 3, "ftjob-1")
    assert ([each.id for each in rest], more) == (["ftjob-0"], False)
    assert [each.id for each in store.page("a", 3, None, {"number": "1"})[0]] == ["ftjob-3", "ftjob-1"]
    with pytest.raises(TuningError, match="no job 'ftjob-4' after which to begin"):
        store.page("a", 3, "ftjob-4")


def test_events_come_in_pages_that_end(tmp_path: Path, store: Store) -> None:
    store.add(job(tmp_path, 1), *(Event(float(number), str(number)) for number in range(5)))
    first, more = store.events("ftjob-1", 3, None)
    assert ([each.message for each in first], more) == (["4", "3", "2"], True)
    rest, more = store.events("ftjob-1", 3, first[-1].number)
    assert ([each.message for each in rest], more) == (["1", "0"], False)


def test_a_step_has_one_checkpoint_however_often_it_is_reached(tmp_path: Path, store: Store) -> None:
    store.add(kept := job(tmp_path, 1))
    for loss in (0.5, 0.4):
        store.save(kept, checkpoints=[Checkpoint(1, 1.0, {"train_loss": loss})])
    (checkpoint,) = store.checkpoints("ftjob-1", 10, None)[0]
    assert checkpoint.metrics == {"train_loss": 0.4}


def test_jobs_that_are_not_done_are_found_oldest_first(tmp_path: Path, store: Store) -> None:
    for number, stage in enumerate(("train", "done", "publish", "withdraw")):
        store.add(job(tmp_path, number, stage=stage))
    assert [each.id for each in store.unfinished()] == ["ftjob-0", "ftjob-2", "ftjob-3"]
    assert store.ids() == {"ftjob-0", "ftjob-1", "ftjob-2", "ftjob-3"}
    assert store.named("", "ft:base:2") is not None
    assert store.named("other", "ft:base:2") is None


def test_a_change_that_fails_leaves_nothing(tmp_path: Path, store: Store) -> None:
    store.add(job(tmp_path, 1), Event(1.0, "created"))
    with pytest.raises(sqlite3.IntegrityError):
        store.add(job(tmp_path, 1), Event(2.0, "created twice"))
    assert [event.message for event in store.events("ftjob-1", 10, None)[0]] == ["created"]


def test_the_database_of_a_later_version_is_not_touched(tmp_path: Path, store: Store) -> None:
    store.close()
    with sqlite3.connect(tmp_path / "jobs.sqlite3") as later:
        later.execute("PRAGMA user_version = 99")
    with pytest.raises(OSError, match="later version of Headgate"):
        Store(tmp_path / "jobs.sqlite3")


def test_jobs_of_all_owners_are_counted_by_their_status(tmp_path: Path, store: Store) -> None:
    assert store.counts() == {}
    for number in range(3):
        store.add(job(tmp_path, number, owner=f"owner-{number}"))
    first = store.find("ftjob-0")
    assert first is not None
    first.status, first.stage = "failed", "done"
    store.save(first)
    assert store.counts() == {"validating_files": 2, "failed": 1}
