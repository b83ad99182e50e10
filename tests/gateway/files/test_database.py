"""A change of a database happens as a whole or not at all, and its readers do not wait for it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from gateway.files.database import Database, NewerDatabase

SCHEMA = ("CREATE TABLE numbers (number INTEGER NOT NULL)",)


def opened(folder: Path) -> Database:
    return Database(folder / "d", "the list of numbers", SCHEMA, 1)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(opened(tmp_path)) as made:
        yield made


def test_a_change_that_fails_leaves_nothing(database: Database) -> None:
    with database.change() as change:
        change.execute("INSERT INTO numbers VALUES (1)")
    with pytest.raises(sqlite3.IntegrityError), database.change() as change:
        change.executemany("INSERT INTO numbers VALUES (?)", [(2,), (None,)])
    assert database.rows("SELECT number FROM numbers WHERE number >= ?", 1) == [(1,)]


def test_others_read_what_was_before_while_one_changes_it(tmp_path: Path, database: Database) -> None:
    with closing(opened(tmp_path)) as other, database.change() as change:
        change.execute("INSERT INTO numbers VALUES (1)")
        assert other.rows("SELECT number FROM numbers") == []


def test_one_of_a_later_version_is_left_alone(tmp_path: Path, database: Database) -> None:
    with closing(sqlite3.connect(tmp_path / "d")) as later:
        later.execute("PRAGMA user_version = 2")
    with pytest.raises(NewerDatabase, match="the list of numbers was written by a later version of Headgate"):
        opened(tmp_path)


def test_it_is_for_this_user_alone_in_a_folder_of_all(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with closing(opened(tmp_path)):
            modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"d": 0o600, "d-wal": 0o600, "d-shm": 0o600}


def test_it_is_closed_twice_without_harm(tmp_path: Path) -> None:
    made = opened(tmp_path)
    made.close()
    made.close()


def test_many_may_open_one_that_is_not_there_yet(tmp_path: Path) -> None:
    for number in range(20):
        folder = tmp_path / str(number)
        folder.mkdir()
        with ThreadPoolExecutor(8) as threads:
            made = list(threads.map(opened, [folder] * 8))
        assert [each.rows("SELECT count(*) FROM numbers") for each in made] == [[(0,)]] * 8
        for each in made:
            each.close()
