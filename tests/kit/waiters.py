"""Someone who wants a slot."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.pools.queue import Ticket

_TICKET = Ticket()


@dataclass(eq=False)
class Waiter:
    """Someone in a queue, who notes how many slots it got."""

    slots: int = 0
    ticket: Ticket = _TICKET

    def granted(self) -> None:
        """Take a slot."""
        self.slots += 1
