"""What follows the answer to a line: it counts, or the line is asked again."""

from __future__ import annotations

from enum import Enum, auto

from gateway.core.errors import GatewayError

MOST_FAILURES = 8
"""So often a line is asked whose engine fails; a line that breaks engines must not do it until its window ends."""

_FIRST, _LONGEST = 1.0, 60.0
"""Seconds before the second try, and the most before any other."""


class Verdict(Enum):
    """What follows an answer."""

    COUNTS = auto()
    """The answer is the line's result."""
    FULL = auto()
    """Nothing had room for it, which says nothing of the line: it and the others of its batch wait a while."""
    FAILED = auto()
    """The engine failed: this line waits a while."""


def verdict(status: int, error: GatewayError | None, failures: int) -> Verdict:
    """Decide about an answer with this status; ``failures`` is how often the line's engine failed before.

    ``error`` is the gateway's own, if there is one: only that tells a limit which passes from one that the line alone
    exceeds.
    """
    if status == 429:
        final = error is not None and error.retry_after is None and b"x-should-retry: false" in error.headers
        return Verdict.COUNTS if final else Verdict.FULL
    if status in (503, 529):
        return Verdict.FULL
    if status in (408, 500, 502, 504) and failures + 1 < MOST_FAILURES:
        return Verdict.FAILED
    return Verdict.COUNTS


def pause(times: int, retry_after: float | None = None) -> float:
    """Give how long to wait, in seconds, after so many tries in vain: exponential backoff, and as long as was said."""
    return max(min(_LONGEST, _FIRST * 2.0 ** (min(times, 10) - 1)), retry_after or 0.0)
