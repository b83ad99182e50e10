"""What can go wrong between an engine and those who ask it, as values that compose."""

from __future__ import annotations

import enum
import random
from dataclasses import dataclass
from typing import Annotated

import msgspec

_Number = Annotated[int, msgspec.Meta(ge=0)]
_Seconds = Annotated[float, msgspec.Meta(ge=0)]


class Cut(enum.Enum):
    """How a response ends too early."""

    END = "end"
    """The HTTP response ends in good order (last chunk sent), but its end marker (``data: [DONE]``) never came."""

    CLOSE = "close"
    """The connection closes (FIN) between two events, without the last chunk."""

    RESET = "reset"
    """The connection is reset (RST); on a Unix socket it closes at once."""

    MID_EVENT = "mid_event"
    """Half of the next event is sent, then the connection closes (FIN)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Which faults an engine has; without any argument, none.

    They apply to each POST request with ``probability``, decided when the request has arrived. An *event* is one
    server-sent event as written, so a chat stream's first event is its role chunk. Faults that need a stream leave
    unary responses alone and the other way round, except where stated.
    """

    probability: float = 1.0
    """The share of requests that suffer (0 to 1), drawn from the engine's seeded generator."""

    mix: tuple[Faults, ...] = ()
    """Alternatives, of which each request suffers at most one, drawn by their probabilities (whose sum is at most 1);
    what this object says itself then applies only to its connections, health and listening."""

    also_get: bool = False
    """Whether GET requests (health, metrics, models) suffer like POST requests."""

    # before the response
    refuse: bool = False
    """Do not listen: connecting is refused. Open connections stay."""

    silent: bool = False
    """Read the request and never answer it."""

    delay: _Seconds = 0.0
    """Seconds to wait, outside the batch, before anything else happens to the request."""

    status: int = 0
    """Answer with this error instead, in vLLM's shape: 400, 404, 500, 503 (its queue is full) or any other."""

    error_body: str | None = None
    """The body of that error as plain text instead of vLLM's JSON."""

    garbage: bool = False
    """Answer with bytes that are not HTTP, then close."""

    crash_after: _Number | None = None
    """Die after so many events (0: upon the request): all connections are reset and nothing listens any more.
    A process exits with status 1. A unary response dies before its first byte."""

    # framing
    length_error: int = 0
    """Added to the ``content-length`` of a unary response: positive promises bytes that never come (the connection
    closes), negative sends more than was promised."""

    both_lengths: bool = False
    """Send ``content-length`` beside ``transfer-encoding: chunked``, in streams and unary responses."""

    header_bytes: _Number = 0
    """Add a header ``x-padding`` with a value of this many bytes."""

    cut_body_after: _Number | None = None
    """Close the connection after so many bytes of a unary response's body."""

    # the stream
    hang_after: _Number | None = None
    """Send nothing more after so many events, and keep the connection open."""

    cut_after: _Number | None = None
    """End the stream after so many events, in the way ``cut`` says."""

    cut: Cut = Cut.CLOSE
    """How ``cut_after`` ends the stream."""

    error_after: _Number | None = None
    """After so many events send vLLM's error event, the end marker and the end."""

    usage_on_every_event: bool = False
    """Send usage so far on each event of a chat or completion stream, asked or not."""

    comments: bool = False
    """Send a comment (``: …``) before every event."""

    crlf: bool = False
    """End the lines of events with CR LF."""

    event_bytes: _Number = 0
    """Lengthen each token's text to this many bytes, in streams and unary responses."""

    segment_bytes: _Number = 0
    """Write responses in segments of 1 to so many bytes, sizes drawn from the seed, one by one (1: bytewise)."""

    # connections
    close_idle_after: _Seconds | None = None
    """Close a connection that was idle for so many seconds after a response."""

    close_after_answer: bool = False
    """Close the connection after each response without having announced it (no ``connection: close``)."""

    unhealthy: bool = False
    """Answer ``/health`` with 503."""

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability must be between 0 and 1, not {self.probability}")
        if self.status and not 200 <= self.status <= 599:
            raise ValueError(f"status must be 0 or between 200 and 599, not {self.status}")
        if sum(each.probability for each in self.mix) > 1 + 1e-9:
            raise ValueError("the probabilities of a mix add up to more than 1")

    def drawn(self, draw: random.Random) -> Faults:
        """Decide what one request suffers."""
        if self is NO_FAULTS:
            return self
        if self.mix:
            at = draw.random()
            for each in self.mix:
                at -= each.probability
                if at < 0:
                    return each
            return NO_FAULTS
        if self.probability >= 1 or draw.random() < self.probability:
            return self
        return NO_FAULTS

    def encode(self) -> bytes:
        """Return this as JSON."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> Faults:
        """Read JSON; absent fields have their defaults. Raises ``msgspec.ValidationError``, unknown fields included."""
        unknown = set(msgspec.json.decode(data, type=dict[str, msgspec.Raw])) - set(cls.__dataclass_fields__)
        if unknown:
            raise msgspec.ValidationError(f"no such fault: {', '.join(sorted(unknown))}")
        return msgspec.json.decode(data, type=cls)


NO_FAULTS = Faults()
"""Nothing goes wrong."""
