"""What an engine counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How much has happened since the start, and what is happening now. Requests are POST requests."""

    received: int
    """Requests that arrived whole."""

    served: int
    """Answers that were written to their end, errors in good form included."""

    aborted: int
    """Requests whose client closed before the response was complete: waiting, in prefill, streaming or unary."""

    faulted: int
    """Answers that the engine itself broke off, as its faults told it to."""

    running: int
    """Requests in the batch now."""

    waiting: int
    """Requests that wait for room in the batch now."""

    blocked: int
    """Connections whose client reads too slowly now: the socket's buffer is full."""

    connections: int
    """Connections open now."""

    accepted: int
    """Connections accepted so far."""

    probes: int
    """GET requests so far."""

    events: int
    """Server-sent events written so far."""
