"""The index of batches: one SQLite database, which several processes may share.

Each batch is a row with its record as JSON; what rows are looked up by stands in columns beside it.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgspec

from gateway.batches.records import Batch, BatchQuery, BatchStatus
from gateway.core.errors import TooManyBatches
from gateway.files.database import Database

_VERSION = 1

_SCHEMA = (
    """CREATE TABLE batches (
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, ended INTEGER NOT NULL,
        record BLOB NOT NULL)""",
    "CREATE INDEX batches_by_owner ON batches (owner, number)",
    "CREATE INDEX batches_under_way ON batches (number) WHERE NOT ended",
)

_DECODER = msgspec.json.Decoder(Batch)


class BatchIndex:
    """Finds and changes batches. Its methods block, and may be called by any thread; each is one transaction.

    They raise ``sqlite3.Error`` where the disk does not do its part, and so does opening it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database = Database(path, "the index of batches", _SCHEMA, _VERSION)

    def __repr__(self) -> str:
        return f"<BatchIndex {self._path}>"

    def close(self) -> None:
        """Close the database; harmless the second time."""
        self._database.close()

    def add(self, batch: Batch, most: int) -> None:
        """Add a batch. Raises ``TooManyBatches`` if its owner has ``most`` under way already; 0 is no limit."""
        with self._database.change() as change:
            query = "SELECT COUNT(*) FROM batches WHERE owner = ? AND NOT ended"
            (number,) = change.execute(query, (batch.owner,)).fetchone()
            if most and number >= most:
                raise TooManyBatches(
                    f"You have {number} batches under way, as many as may be (batches.max_batches); wait for one."
                )
            values = (batch.id, batch.owner, batch.ended, msgspec.json.encode(batch))
            change.execute("INSERT INTO batches (id, owner, ended, record) VALUES (?, ?, ?, ?)", values)

    def find(self, owner: str, batch_id: str) -> Batch | None:
        """Find a batch of an owner."""
        found = self._rows("SELECT record FROM batches WHERE id = ? AND owner = ?", batch_id, owner)
        return found[0] if found else None

    def listed(self, owner: str, query: BatchQuery) -> list[Batch] | None:
        """List batches, the newest first. ``None`` if there is no batch ``after`` which to begin."""
        if query.after is None:
            select = "SELECT record FROM batches WHERE owner = ? ORDER BY number DESC LIMIT ?"
            return self._rows(select, owner, query.limit)
        if self.find(owner, query.after) is None:
            return None
        select = """SELECT record FROM batches WHERE owner = ? AND number < (SELECT number FROM batches WHERE id = ?)
            ORDER BY number DESC LIMIT ?"""
        return self._rows(select, owner, query.after, query.limit)

    def under_way(self) -> list[Batch]:
        """Give the batches of all owners that have not ended, the oldest first."""
        return self._rows("SELECT record FROM batches WHERE NOT ended ORDER BY number")

    def change(self, batch_id: str, only: Collection[BatchStatus], changes: dict[str, Any]) -> tuple[Batch, bool]:
        """Change fields of a batch if it has one of the statuses ``only``; return it, and whether it had.

        Raises ``KeyError`` if there is no such batch.
        """
        with self._database.change() as change:
            row = change.execute("SELECT record FROM batches WHERE id = ?", (batch_id,)).fetchone()
            if row is None:
                raise KeyError(batch_id)
            batch = _DECODER.decode(row[0])
            if batch.status not in only:
                return batch, False
            batch = msgspec.structs.replace(batch, **changes)
            values = (msgspec.json.encode(batch), batch.ended, batch_id)
            change.execute("UPDATE batches SET record = ?, ended = ? WHERE id = ?", values)
            return batch, True

    # inside

    def _rows(self, query: str, *values: object) -> list[Batch]:
        return [_DECODER.decode(record) for (record,) in self._database.rows(query, *values)]
