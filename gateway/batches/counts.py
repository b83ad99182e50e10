"""What is counted of batches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gateway.batches.records import ENDED, UNDER_WAY

Outcome = Literal["completed", "failed", "expired", "retried", "yielded"]

OUTCOMES: tuple[Outcome, ...] = ("completed", "failed", "expired", "retried", "yielded")
"""What may become of a line that was asked; one that was ``retried`` or has ``yielded`` is asked again."""


def _zeros(names: tuple[str, ...]) -> dict[str, int]:
    return dict.fromkeys(names, 0)


@dataclass(slots=True)
class BatchCounts:
    """Batches by status, lines by outcome, and the lines that are being asked, all of one process."""

    under_way: dict[str, int] = field(default_factory=lambda: _zeros(UNDER_WAY))
    ended: dict[str, int] = field(default_factory=lambda: _zeros(ENDED))
    lines: dict[str, int] = field(default_factory=lambda: _zeros(OUTCOMES))
    in_flight: int = 0

    def add(self, other: BatchCounts) -> None:
        """Count what another process has counted."""
        for own, its in (
            (self.under_way, other.under_way),
            (self.ended, other.ended),
            (self.lines, other.lines),
        ):
            for name, number in its.items():
                own[name] = own.get(name, 0) + number
        self.in_flight += other.in_flight

    def hold_nothing(self) -> None:
        """Forget what was under way: its process has ended."""
        self.under_way = _zeros(UNDER_WAY)
        self.in_flight = 0
