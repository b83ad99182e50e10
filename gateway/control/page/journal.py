"""The latest decisions in memory: what was retried, ejected, reloaded, drained, started, and why."""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from threading import Lock

import msgspec

KEPT = 200
"""Decisions that are kept."""

_SAME_SECONDS = 60.0
"""Decisions of one kind about one thing within this time are one entry with a number."""

_LONGEST = 600
"""Characters of a reason that are kept; the last words of an engine may be many."""


class Kind(StrEnum):
    """What was decided."""

    STATE = "state"
    """A replica came, went, or is in another state: ejected, restarted, ready again."""
    SCALING = "scaling"
    """A model is to have another number of replicas, or one waits for room."""
    RETRY = "retry"
    FALLBACK = "fallback"
    RECOVERY = "recovery"
    REFUSAL = "refusal"
    RELOAD = "reload"
    COMMAND = "command"
    """An operator asked for it at the control port."""


class Decision(msgspec.Struct):
    """One decision, or ``number`` of the same. ``at`` is a Unix time, of the latest of them."""

    at: float
    kind: Kind
    what: str
    model: str = ""
    replica: str = ""
    reason: str = ""
    bad: bool = False
    """Whether somebody has to look at it."""
    number: int = 1


class Journal:
    """Keeps the latest decisions. Written and read by several threads."""

    def __init__(self) -> None:
        self._decisions: deque[Decision] = deque()
        self._latest: dict[tuple[str, ...], Decision] = {}
        """The latest of those that are the same but for their time."""
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"<Journal [{len(self._decisions)} of {KEPT}]>"

    def add(self, decision: Decision) -> None:
        """Keep a decision. The same once more within a minute is counted instead of written again."""
        decision.reason = decision.reason[-_LONGEST:]
        subject = _subject(decision)
        with self._lock:
            known = self._latest.get(subject)
            if known is not None and decision.at - known.at <= _SAME_SECONDS:
                self._decisions.remove(known)
                decision.number += known.number
            elif len(self._decisions) == KEPT:
                oldest = self._decisions.popleft()
                if self._latest[_subject(oldest)] is oldest:
                    del self._latest[_subject(oldest)]
            self._decisions.append(decision)
            self._latest[subject] = decision

    def latest(self, model: str | None = None) -> list[Decision]:
        """Give all decisions, or those about one model, the latest first."""
        with self._lock:
            return [each for each in reversed(self._decisions) if model in (None, each.model)]


def _subject(decision: Decision) -> tuple[str, ...]:
    return decision.kind, decision.what, decision.model, decision.replica, decision.reason
