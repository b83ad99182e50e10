"""The states of an exchange, in the order in which it passes through them."""

from __future__ import annotations

from enum import Enum, auto


class State(Enum):
    """Where an exchange is."""

    PREPARING = auto()
    """It exists, and has not asked for a slot yet."""
    QUEUED = auto()
    """It waits for a slot."""
    TRYING = auto()
    """It has a slot, and the client has got nothing."""
    RELAYING = auto()
    """The client has got the beginning of its response."""
    FLUSHING = auto()
    """The client has its whole response; the engine's last bytes are awaited, so that its connection can be kept."""
    ENDED = auto()


# perf: enum members, see docs/python-idioms.md.
PREPARING, QUEUED, TRYING, RELAYING, FLUSHING, ENDED = State
