"""Replicas and pools that several processes have in common: one count of what is in flight, one word on who is ready.

The parent decides who is ready: it alone asks the engines for their health, because they would otherwise be asked once
per process, and because two processes on one machine cannot reach an engine differently. It tells its children. A child
whose requests get no responses leaves a replica alone at once, and tells the parent, which tells the others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.pools.pool import Load, Pool
from gateway.pools.replica import Replica
from gateway.processes.shared_admission import Counts
from gateway.processes.shared_cells import Row


class SharedReplica(Replica):
    """A replica of which each process counts what it has in flight there, and how many responses it got.

    ``own`` is the index of this process, or -1 in the parent, which has nothing in flight.
    """

    __slots__ = ("_answers", "_own", "_shared_in_flight")

    def __init__(self, *arguments: Any, in_flight: Row, answers: Row, own: int, **options: Any) -> None:
        self._shared_in_flight = in_flight
        self._answers = answers
        self._own = own
        super().__init__(*arguments, **options)

    @property
    def in_flight(self) -> int:
        """How many requests all processes together have there."""
        return sum(self._shared_in_flight)

    @in_flight.setter
    def in_flight(self, here: int) -> None:
        """Set how many this process has there: a replica begins with none."""
        if self._own >= 0:
            self._shared_in_flight[self._own] = here

    def entered(self) -> None:
        """Count a request that this process sends there."""
        self._shared_in_flight[self._own] += 1

    def left(self) -> None:
        """Count a request of this process out."""
        self._shared_in_flight[self._own] -= 1


class ChildReplica(SharedReplica):
    """A replica in a child: ready when the parent says so, and no longer when its requests get no responses."""

    __slots__ = ("_doubt",)

    def __init__(self, *arguments: Any, doubt: Callable[[str, str], None], **options: Any) -> None:
        self._doubt = doubt
        super().__init__(*arguments, **options)

    def succeeded(self) -> None:
        """Take note of a response, for the parent to see too."""
        self._failures = 0
        self._answers[self._own] += 1

    def set_ready(self, *, ready: bool, state: str, reason: str = "") -> None:
        """Take note of what this process found, and tell the parent."""
        super().set_ready(ready=ready, state=state, reason=reason)
        self._doubt(self.name, reason)

    def told(self, *, ready: bool, state: str, reason: str) -> None:
        """Take over what the parent says."""
        super().set_ready(ready=ready, state=state, reason=reason)


class ParentReplica(SharedReplica):
    """A replica in the parent, which serves nothing itself and tells its children what it finds."""

    __slots__ = ("_heard", "_tell")

    def __init__(self, *arguments: Any, tell: Callable[[ParentReplica], None], **options: Any) -> None:
        self._tell = tell
        self._heard = 0
        super().__init__(*arguments, own=-1, **options)

    def answered(self) -> bool:
        """Tell whether a child got a response since this was asked last, and if so, forget the failures before."""
        before, self._heard = self._heard, sum(self._answers)
        if self._heard != before:
            self._failures = 0
        return self._heard != before

    def failed(self, reason: str) -> None:
        """Take note of a probe without a response; one that a child got meanwhile shows that the replica lives."""
        self.answered()
        super().failed(reason)

    def set_ready(self, *, ready: bool, state: str, reason: str = "") -> None:
        """Take note of what a probe, the supervisor or a child found, and tell the children if that is new."""
        before = (self.ready, self.state, self.reason)
        super().set_ready(ready=ready, state=state, reason=reason)
        if before != (self.ready, self.state, self.reason):
            self._tell(self)


class ParentPool(Pool):
    """A pool in the parent: what its children have to do, and what they must know of it."""

    def __init__(
        self, *arguments: Any, counts: Counts, tokens: Row, tell: Callable[[ParentPool], None], **options: Any
    ):
        self._counts = counts
        self._tokens = tokens
        self._tell = tell
        super().__init__(*arguments, **options)

    def load(self, now: float) -> Load:
        """Add up what the children have to do."""
        counts = self._counts
        return Load(sum(counts.running), sum(counts.waiting), counts.oldest_wait(now), sum(self._tokens))

    def learned_length(self, max_model_len: int | None) -> None:
        """Take note of how many tokens a request may have, and tell the children."""
        super().learned_length(max_model_len)
        self._tell(self)
