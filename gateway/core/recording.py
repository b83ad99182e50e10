"""What is noted of a request whose spans are recorded: ids, moments and outcomes. The spans are made of it later.

All moments are ``time.perf_counter()`` readings in seconds, and ids are hexadecimal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import getrandbits
from time import perf_counter


def new_span_id() -> str:
    """Draw the id of a span, which is never 0."""
    return f"{getrandbits(64) or 1:016x}"


@dataclass(slots=True)
class AttemptRecord:
    """One attempt at a replica. ``host`` is the path of its socket where ``port`` is 0."""

    span_id: str
    trace: bytes
    """The trace context that the replica gets, as lines."""
    model: str
    replica: str
    host: str
    port: int
    began_at: float
    sent_at: float = 0.0
    """When the request was written to a connection; 0 if none was made."""
    first_byte_at: float = 0.0
    """When the head of the response came, if the rest did not come with it; else 0."""
    ended_at: float = 0.0
    streamed: bool = False
    status: int = 0
    """That of the response; 0 without one."""
    outcome: str = ""
    reason: str = ""
    """Why there was no response."""

    def answered(self, status: int, *, streams: bool) -> None:
        """Note the head of a response, whose rest is still to come."""
        self.status, self.streamed, self.first_byte_at = status, streams, perf_counter()

    def end(self, outcome: str) -> None:
        """Note how and when it ended; the first outcome stands."""
        if not self.outcome:
            self.outcome = outcome
            self.ended_at = perf_counter()


@dataclass(slots=True)
class Recording:
    """One request, its waits in a queue, and its attempts."""

    trace_id: str
    span_id: str
    parent_id: str
    """The client's span; empty where the request begins the trace."""
    state: str
    """The client's ``tracestate``."""
    waits: list[tuple[float, float]] = field(default_factory=list)
    """When it began to wait for a slot, and when that ended."""
    attempts: list[AttemptRecord] = field(default_factory=list)
