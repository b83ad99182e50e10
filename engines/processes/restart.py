"""When a process that failed is started again: exponential backoff, as init systems and Kubernetes do it."""

from __future__ import annotations

from dataclasses import dataclass

_MOST_DOUBLINGS = 60
"""Enough to come from any first pause to any longest one; powers beyond become no number."""


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How long to wait between two starts; all in seconds.

    The first pause is doubled with every run that fails, up to ``longest``. A run that was ready for more than
    ``healthy`` ends the row: its failure counts as the first.
    """

    first: float = 1.0
    longest: float = 30.0
    healthy: float = 60.0

    def failures(self, before: int, served: float) -> int:
        """Return how many runs have failed in a row, this one included, which was ready for ``served`` seconds."""
        return 1 if served > self.healthy else before + 1

    def pause(self, failures: int) -> float:
        """Return how many seconds to wait after so many failed runs in a row, 1 or more."""
        return min(self.longest, self.first * 2.0 ** min(failures - 1, _MOST_DOUBLINGS))


def with_next_try(reason: str, pause: float) -> str:
    """Add to a reason when the next try is, in seconds: behind what a process has said, on a line of its own."""
    separator = "\n" if "\n" in reason else " "
    return f"{reason}{separator}Next try in {pause:g} s."
