"""Keeps jobs, their events and their checkpoints in one SQLite database.

It is in WAL mode and synchronous, so what was told to a client is on the disk, and a process that is killed leaves
either all of a change or nothing of it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from engines.tuning.errors import TuningError
from engines.tuning.records import Checkpoint, Event, Job

_VERSION = 1

_SCHEMA = (
    """CREATE TABLE jobs (
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, name TEXT NOT NULL,
        stage TEXT NOT NULL, job BLOB NOT NULL)""",
    "CREATE INDEX jobs_by_owner ON jobs (owner, number)",
    "CREATE INDEX jobs_by_stage ON jobs (stage)",
    """CREATE TABLE events (
        number INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT NOT NULL, event BLOB NOT NULL)""",
    "CREATE INDEX events_by_job ON events (job, number)",
    """CREATE TABLE checkpoints (
        number INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT NOT NULL, step INTEGER NOT NULL, checkpoint BLOB NOT NULL,
        UNIQUE (job, step))""",
)

_JOB = msgspec.json.Decoder(Job)
_EVENT = msgspec.json.Decoder(Event)
_CHECKPOINT = msgspec.json.Decoder(Checkpoint)


class Store:
    """The jobs of one folder. Each method is one transaction; all raise ``sqlite3.Error`` where the disk fails."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = sqlite3.connect(path, isolation_level=None)
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def __repr__(self) -> str:
        return f"<Store {self._path}>"

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    # jobs

    def add(self, job: Job, *events: Event) -> None:
        """Add a job with its first events."""
        with self._change() as change:
            change.execute(
                "INSERT INTO jobs (id, owner, name, stage, job) VALUES (?, ?, ?, ?, ?)",
                (job.id, job.order.owner, job.name, job.stage, msgspec.json.encode(job)),
            )
            _add_events(change, job.id, events)

    def save(self, job: Job, *events: Event, checkpoints: Iterable[Checkpoint] = ()) -> None:
        """Write down what a job is now, together with what has happened to it."""
        with self._change() as change:
            change.execute(
                "UPDATE jobs SET stage = ?, job = ? WHERE id = ?", (job.stage, msgspec.json.encode(job), job.id)
            )
            _add_events(change, job.id, events)
            change.executemany(
                "INSERT OR REPLACE INTO checkpoints (job, step, checkpoint) VALUES (?, ?, ?)",
                [(job.id, each.step, msgspec.json.encode(each)) for each in checkpoints],
            )

    def find(self, job_id: str) -> Job | None:
        """Find a job of whichever owner."""
        return next(self._jobs("WHERE id = ?", job_id), None)

    def named(self, owner: str, name: str) -> Job | None:
        """Find the job of an owner that makes the model of this name."""
        return next(self._jobs("WHERE owner = ? AND name = ?", owner, name), None)

    def unfinished(self) -> list[Job]:
        """List the jobs that something is still to be done for, the oldest first."""
        return list(self._jobs("WHERE stage != 'done' ORDER BY number"))

    def counts(self) -> dict[str, int]:
        """Count all jobs by their status; one that no job has is left out."""
        select = "SELECT json_extract(CAST(job AS TEXT), '$.status') AS status, count(*) FROM jobs GROUP BY status"
        return dict(self._connection.execute(select).fetchall())

    def ids(self) -> set[str]:
        """Give the ids of all jobs."""
        return {row[0] for row in self._connection.execute("SELECT id FROM jobs")}

    def page(
        self, owner: str, limit: int, after: str | None, metadata: Mapping[str, str] | None = None
    ) -> tuple[list[Job], bool]:
        """List jobs of an owner, the newest first, and tell whether there are more. Raises ``TuningError``.

        With ``metadata`` only those are listed that have all of it.
        """
        where, values = "WHERE owner = ?", [owner]
        if after is not None:
            rows = self._connection.execute("SELECT number FROM jobs WHERE id = ? AND owner = ?", (after, owner))
            where, values = f"{where} AND number < ?", [owner, _number(rows, "job", after)]
        found = []
        for job in self._jobs(f"{where} ORDER BY number DESC", *values):
            if (metadata or {}).items() <= (job.order.metadata or {}).items():
                found.append(job)
            if len(found) > limit:
                break
        return found[:limit], len(found) > limit

    # what belongs to a job

    def events(self, job_id: str, limit: int, after: int | None) -> tuple[list[Event], bool]:
        """List events of a job, the newest first, and tell whether there are more."""
        rows = self._rows("events", "event", job_id, limit, after)
        found = [msgspec.structs.replace(_EVENT.decode(data), number=number) for number, data in rows]
        return found[:limit], len(found) > limit

    def checkpoints(self, job_id: str, limit: int, after: int | None) -> tuple[list[Checkpoint], bool]:
        """List checkpoints of a job, the newest first, and tell whether there are more."""
        rows = self._rows("checkpoints", "checkpoint", job_id, limit, after)
        found = [msgspec.structs.replace(_CHECKPOINT.decode(data), number=number) for number, data in rows]
        return found[:limit], len(found) > limit

    # inside

    def _jobs(self, where: str, *values: object) -> Iterator[Job]:
        for (data,) in self._connection.execute(f"SELECT job FROM jobs {where}", values):  # noqa: S608 - constants
            yield _JOB.decode(data)

    def _rows(self, table: str, column: str, job_id: str, limit: int, after: int | None) -> list[tuple[int, bytes]]:
        where, values = "job = ?", [job_id]
        if after is not None:
            where, values = "job = ? AND number < ?", [job_id, after]  # type: ignore[list-item]
        select = f"SELECT number, {column} FROM {table} WHERE {where} ORDER BY number DESC LIMIT ?"  # noqa: S608
        return self._connection.execute(select, (*values, limit + 1)).fetchall()

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _prepare(self) -> None:
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version > _VERSION:
            raise OSError(f"{self._path} was written by a later version of Headgate, which keeps jobs in another way.")
        if version == 0:
            with self._change() as change:
                for statement in _SCHEMA:
                    change.execute(statement)
                change.execute(f"PRAGMA user_version = {_VERSION}")


def _add_events(change: sqlite3.Connection, job_id: str, events: Sequence[Event]) -> None:
    change.executemany(
        "INSERT INTO events (job, event) VALUES (?, ?)", [(job_id, msgspec.json.encode(each)) for each in events]
    )


def _number(rows: sqlite3.Cursor, what: str, after: str) -> str:
    found = rows.fetchone()
    if found is None:
        raise TuningError(400, "invalid_cursor", f"There is no {what} {after[:100]!r} after which to begin.", "after")
    number: str = found[0]
    return number
