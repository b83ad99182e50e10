"""What the readers of all dialects' streams share: counting events, metering usage, and knowing when it is over."""

from __future__ import annotations

from abc import ABC, abstractmethod
from time import perf_counter
from typing import NamedTuple, Protocol

from gateway import dispatch
from gateway.context import RequestContext
from gateway.errors import GatewayError
from gateway.http import sse


class Event(NamedTuple):
    """One event as it came, and what its ``data`` lines hold."""

    raw: bytes
    data: bytes


class MeteredStream(ABC):
    """Reads one answer's events. Most pass uncut and undecoded; only those that may hold a fact are looked into."""

    __slots__ = ("_content_events", "_context", "_events", "_metered", "complete", "failure", "refused")

    def __init__(self, context: RequestContext) -> None:
        self._context = context
        self._events = 0
        self._content_events = 0
        self._metered = False
        self.complete = False
        self.failure: GatewayError | None = None
        self.refused = False

    def feed(self, events: bytes) -> bytes:
        """Read whole events and return those that the client gets: none behind the one that ends the stream."""
        events = sse.without_ids(events)
        if self._context.first_token_at is not None and self._plain(events):
            number = events.count(b"\ndata:") + events.startswith(b"data:")
            self._events += number
            self._content_events += number
            return events
        kept = []
        for event in sse.split(events):
            kept.append(self._take(event))
            if self.complete:
                break
        return b"".join(kept)

    def settle(self) -> None:
        """Count what was sent, if the stream ended before its usage came: one token for each event with content."""
        if not self._metered:
            self._context.output_tokens = max(self._context.output_tokens, self._content_events)

    @abstractmethod
    def error(self, error: GatewayError) -> bytes:
        """Write ``error`` as the events that end a stream."""

    @abstractmethod
    def _plain(self, events: bytes) -> bool:
        """Whether these events are nothing but content, by a search for the words that all others have."""

    @abstractmethod
    def _read(self, event: Event) -> bytes:
        """Read one event and return what the client gets for it."""

    def _take(self, event: bytes) -> bytes:
        data = sse.data_of(event)
        if not data:
            return event
        kept = self._read(Event(event, data))
        self._events += 1
        return kept

    def _saw_content(self) -> None:
        """Note an event with content; the first one is the first token."""
        self._content_events += 1
        if self._context.first_token_at is None:
            self._context.first_token_at = perf_counter()

    def _fail(self, error: GatewayError) -> bytes:
        """Note an error that the engine reported within its stream, and give it in our shape."""
        self.failure = error
        self.refused = self._events == 0
        self.complete = True
        return self.error(error)


class Dialect(dispatch.Dialect, Protocol):
    """What one family of endpoints needs besides reading its answers."""

    @property
    def asks_usage(self) -> bool:
        """Whether a stream's usage has to be asked for with ``stream_options``."""

    def error_body(self, error: GatewayError) -> bytes:
        """Give the body of an error answer."""
