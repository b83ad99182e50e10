"""Someone who wants a slot."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(eq=False)
class Waiter:
    """Someone in a queue, who notes how many slots it got."""

    slots: int = 0

    def granted(self) -> None:
        """Take a slot."""
        self.slots += 1
