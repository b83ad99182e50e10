"""Looking at every member of a large collection without doing so at every beat."""

from __future__ import annotations

from collections.abc import Collection
from typing import Generic, TypeVar

Member = TypeVar("Member")


class Round(Generic[Member]):
    """Goes round a collection again and again, and gives some of its members at each beat.

    Looking at ten thousand of anything at once would delay every token that comes meanwhile, and costs most where each
    one has left the processor's caches since the last look. A round takes ``beats`` beats, and one beat where there are
    no more than ``at_once`` members.
    """

    def __init__(self, *, beats: int, at_once: int) -> None:
        self._beats = beats
        self._at_once = at_once
        self._left: list[Member] = []

    def __repr__(self) -> str:
        return f"<Round of {self._beats} beats [{len(self._left)} left]>"

    def some(self, members: Collection[Member]) -> list[Member]:
        """Give those of ``members`` whose turn it is; some may have left the collection since the round began."""
        if not self._left:
            self._left = list(members)
        number = max(self._at_once, len(members) // self._beats)
        turn = self._left[-number:]
        del self._left[-number:]
        return turn
