"""What files are for (OpenAI's ``purpose``): which may be uploaded, how long they are kept, and what they must hold."""

from __future__ import annotations

from engines.train.lines import example_mistake
from gateway.core.errors import BadRequest
from gateway.files.lines import LineCheck, batch_mistake

UPLOADED = ("assistants", "batch", "evals", "fine-tune", "user_data", "vision")
"""The purposes of what clients upload; ``fine-tune-results`` and ``batch_output`` are those of results."""

SHORTEST_SECONDS, LONGEST_SECONDS = 3600, 30 * 24 * 3600
"""For how long a file may be asked to be kept: an hour to thirty days."""

_BATCH_SECONDS = 30 * 24 * 3600
"""How long a file of purpose ``batch`` is kept where nothing is said."""


def check_purpose(purpose: str) -> str:
    """Return a purpose as it is. Raises ``BadRequest`` if nothing can be uploaded for it."""
    if purpose not in UPLOADED:
        raise BadRequest(
            f"The purpose {purpose[:100]!r} is not one that files are uploaded for; those are {', '.join(UPLOADED)}.",
            param="purpose",
        )
    return purpose


def check_expiry(anchor: object, seconds: object, field: str = "expires_after") -> int:
    """Return the seconds of OpenAI's ``expires_after``. Raises ``BadRequest`` if there is anything wrong with it."""
    if anchor != "created_at":
        raise BadRequest(f'{field}[anchor] must be "created_at".', param=f"{field}[anchor]")
    if not isinstance(seconds, int) or not SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS:
        raise BadRequest(
            f"{field}[seconds] must be a whole number from {SHORTEST_SECONDS} to {LONGEST_SECONDS}.",
            param=f"{field}[seconds]",
        )
    return seconds


def kept_for(purpose: str, asked: int | None) -> int | None:
    """Tell for how many seconds a file is kept: as long as ``asked``, or as its purpose says; ``None`` is for ever."""
    return _BATCH_SECONDS if asked is None and purpose == "batch" else asked


def line_check(purpose: str) -> LineCheck | None:
    """Give the check of the lines that files of a purpose consist of; ``None`` where they may hold anything."""
    if purpose == "fine-tune":
        return LineCheck(example_mistake)
    return LineCheck(batch_mistake) if purpose == "batch" else None
