"""Someone who wants a slot."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.core.errors import Unavailable
from gateway.pools.queue import Ticket

_TICKET = Ticket()


@dataclass(eq=False)
class Waiter:
    """Someone in a queue, who notes how many slots it got, and why it lost its place."""

    slots: int = 0
    ticket: Ticket = _TICKET
    errors: list[Unavailable] = field(default_factory=list)

    def granted(self) -> None:
        """Take a slot."""
        self.slots += 1

    def displaced(self, error: Unavailable) -> None:
        """Lose its place."""
        self.errors.append(error)
