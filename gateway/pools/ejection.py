"""For how long a replica that requests have found failing gets nothing, and the one request that it is tried with.

The rules are Envoy's outlier detection (ejection times that grow with repeats, a maximum share of a pool) and Linkerd's
failure accrual (after that time, a single request decides: a circuit breaker that is half open).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

Cause = Literal["failures", "errors", "latency"]
"""Why requests have a replica ejected: no responses in a row, errors in a row, or later responses than its peers."""

Finding = Literal[Cause, "dead"]
"""What requests find of a replica: what may be a reason to eject it, or that its engine says itself that it is dead."""

CAUSES: tuple[Cause, ...] = ("failures", "errors", "latency")

MAX_EJECTION_SECONDS = 300.0
"""Longest ejection, as Envoy has it."""


@dataclass(frozen=True, slots=True)
class Ejection:
    """The latest ejection of a replica: its number in a row, until when it lasts at least, and why it was.

    ``ended_at`` is when it was over, which needs a request that succeeds; moments are ``perf_counter`` readings.
    """

    number: int
    until: float
    reason: str
    ended_at: float | None = None

    def next_number(self, now: float, base: float) -> int:
        """Tell which one in a row another ejection would be now: one is forgiven for each ``base`` seconds ready."""
        forgiven = 0 if self.ended_at is None else int((now - self.ended_at) / base)
        return 1 + max(0, self.number - forgiven)


def ejection_seconds(number: int, base: float) -> float:
    """Tell how long an ejection lasts: ``base`` seconds the first time, and twice as long each time in a row."""
    return float(min(base * 2 ** min(number - 1, 20), max(base, MAX_EJECTION_SECONDS)))


def may_eject(*, ejected: int, others_ready: int, replicas: int) -> bool:
    """Whether one more replica of a pool may be ejected because of requests, which are no proof.

    Never the last one that is ready, and no more than half of them, but for one.
    """
    return others_ready > 0 and ejected + 1 <= max(1, replicas // 2)


class Overseer(Protocol):
    """Who decides whether a replica is ejected: its pool, or where processes share it, their parent's."""

    def suspect(self, replica: str, cause: Finding, reason: str) -> None:
        """Requests have found a replica failing or dead, or the one failed with which it was tried."""

    def readmit(self, replica: str) -> None:
        """The request has succeeded with which an ejected replica was tried."""


class Trial(Protocol):
    """The right to send an ejected replica one request: of this process, or of all that share the replica."""

    def claim(self) -> bool:
        """Take the right, if nobody has it."""

    def release(self) -> None:
        """Give it back; harmless for a process that does not have it."""


class LocalTrial:
    """The trials of a replica that one process alone uses."""

    __slots__ = ("_claimed",)

    def __init__(self) -> None:
        self._claimed = False

    def claim(self) -> bool:
        """Take the right, if nobody has it."""
        claimed, self._claimed = self._claimed, True
        return not claimed

    def release(self) -> None:
        """Give it back."""
        self._claimed = False
