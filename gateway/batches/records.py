"""A batch, and what belongs to it, as the index keeps them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import msgspec

from gateway.core.errors import BadRequest

BatchStatus = Literal[
    "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
]

UNDER_WAY: tuple[BatchStatus, ...] = ("validating", "in_progress", "finalizing", "cancelling")
"""The statuses of batches that have not ended."""

ENDED: tuple[BatchStatus, ...] = ("failed", "completed", "expired", "cancelled")

_UNITS = {"h": 3600, "d": 24 * 3600}
_SHORTEST, _LONGEST = 3600, 7 * 24 * 3600


class RequestCounts(msgspec.Struct, frozen=True):
    """How many lines a batch has, and how many of them are answered and have failed."""

    total: int = 0
    completed: int = 0
    failed: int = 0


class LineError(msgspec.Struct, frozen=True):
    """What is wrong with a line of the input; ``line`` begins with 1 and is ``None`` for the whole file."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class Batch(msgspec.Struct, frozen=True):
    """One batch. ``owner`` is the id of the key that it belongs to; moments are whole seconds since 1970.

    The ids of the result files are chosen before the files are there, so that a restart gives them the same ones.
    """

    id: str
    owner: str
    endpoint: str
    input_file_id: str
    completion_window: str
    created_at: int
    expires_at: int
    status: BatchStatus = "validating"
    metadata: Mapping[str, str] | None = None
    keep_seconds: int | None = None
    """How long its result files are kept; ``None`` is for ever."""
    model: str | None = None
    counts: RequestCounts = RequestCounts()
    errors: list[LineError] = []
    output_file_id: str | None = None
    error_file_id: str | None = None
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing of it changes any more."""
        return self.status in ENDED


class BatchQuery(msgspec.Struct, frozen=True):
    """Which batches of an owner are listed: ``limit`` of them behind the batch ``after``, the newest first."""

    limit: int = 20
    after: str | None = None


def window_seconds(window: str) -> int:
    """Give the length of a completion window such as ``24h``, in seconds. Raises ``BadRequest``.

    OpenAI takes ``24h`` alone; other servers with this API take up to seven days, and so does this one.
    """
    found = re.fullmatch(r"([1-9]\d{0,2})([hd])", window, re.ASCII)
    seconds = 0 if found is None else int(found[1]) * _UNITS[found[2]]
    if not _SHORTEST <= seconds <= _LONGEST:
        raise BadRequest(
            f"completion_window is {window[:50]!r}; it must be hours or days, from 1h to 7d, such as 24h.",
            param="completion_window",
        )
    return seconds
