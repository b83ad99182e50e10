"""What the readers of all dialects' streams share: counting events, metering usage, and knowing when it is over."""

from __future__ import annotations

from abc import ABC, abstractmethod
from time import perf_counter
from typing import ClassVar, Protocol

from gateway.api.dialects.event_template import EventTemplate
from gateway.core.context import RequestContext
from gateway.core.errors import GatewayError
from gateway.exchange import ports
from gateway.http import sse
from gateway.http.chunked import start_of_events

MAX_TEMPLATES = 4
"""How often a stream's events are learned anew: those of several choices take turns and are not worth it."""


class MeteredStream(ABC):
    """Reads one response's events. Most pass uncut and undecoded; only those that may hold a fact are looked into."""

    __slots__ = (
        "_content_events",
        "_context",
        "_lessons",
        "_metered",
        "_plain_events",
        "_read_events",
        "_repeated",
        "complete",
        "failure",
        "refused",
    )

    _texts: ClassVar[tuple[bytes, ...]]
    """The fields that hold an event's text, as they are written in JSON up to the opening quote of their value."""

    def __init__(self, context: RequestContext) -> None:
        self._context = context
        # Those that were read one by one, those of them with content, and those seen to be nothing but content.
        self._read_events = 0
        self._content_events = 0
        self._plain_events = 0
        self._metered = False
        self._repeated: EventTemplate | None = None
        self._lessons = MAX_TEMPLATES
        self.complete = False
        self.failure: GatewayError | None = None
        self.refused = False

    @property
    def events(self) -> int:
        """How many events have been read or passed."""
        return self._read_events + self._plain_events

    def passes(self, data: bytes) -> int:
        """Tell how many bytes of ``data`` are chunks of whole events that hold nothing but content; those are counted.

        What is behind them has to be parsed, and fed.
        """
        repeated = self._repeated
        if repeated is not None:
            if repeated.fills(data):
                self._plain_events += 1
                return len(data)
            events, size = repeated.repeats(data, in_chunks=True)
            if events:
                self._plain_events += events
                return size
        if self._context.first_token_at is None:
            return 0
        start = start_of_events(data)
        if not start or self._fact_at(data) >= 0 or sse.has_ids(data):
            return 0
        self._pass(data[start:-2])
        return len(data)

    def feed(self, events: bytes) -> bytes:
        """Read whole events and return those that the client gets: none behind the one that ends the stream."""
        repeated = self._repeated
        if repeated is None or self.complete:
            return self._feed_unlike(events)
        count, size = repeated.repeats(events, in_chunks=False)
        self._plain_events += count
        return events[:size] + self._feed_unlike(events[size:])

    def _feed_unlike(self, events: bytes) -> bytes:
        """Read events that are not like those before."""
        if self.complete or not events:
            return b""
        if self._context.first_token_at is None:
            return self._feed_each(events)
        fact_at = self._fact_at(events)
        if fact_at < 0:
            self._pass(events)
            return sse.without_ids(events)
        # Only the event with the fact and those behind it are looked at one by one.
        before = events.rfind(b"\n\n", 0, fact_at)
        if before < 0:
            return self._feed_each(events)
        plain = events[: before + 2]
        self._count(plain)
        return sse.without_ids(plain) + self._feed_each(events[before + 2 :])

    def settle(self) -> None:
        """Count what was sent, if the stream ended before its usage came: one token for each event with content."""
        if not self._metered:
            made = self._content_events + self._plain_events
            self._context.output_tokens = max(self._context.output_tokens, made)

    @abstractmethod
    def error(self, error: GatewayError) -> bytes:
        """Write ``error`` as the events that end a stream."""

    @abstractmethod
    def _fact_at(self, events: bytes) -> int:
        """Find where the first event that may be more than content has one of the words that all such have; else -1."""

    @abstractmethod
    def _read(self, event: bytes, data: bytes) -> bytes:
        """Read one event, whose ``data`` lines hold ``data``, and return what the client gets for it."""

    def _feed_each(self, events: bytes) -> bytes:
        """Read events one by one, up to the first with content or the last of the stream; the others together."""
        kept = []
        read = 0
        looking = self._context.first_token_at is None
        has_ids = sse.has_ids(events)
        for event in sse.split(events):
            read += len(event)
            event = sse.without_ids(event) if has_ids else event
            data = sse.data_of(event)
            if not data:
                kept.append(event)
                continue
            kept.append(self._read(event, data))
            self._read_events += 1
            if self.complete:
                break
            if looking and self._context.first_token_at is not None:
                if self._fact_at(event) < 0:
                    self._learn(event)
                if read < len(events):
                    kept.append(self.feed(events[read:]))
                break
        return b"".join(kept)

    def _pass(self, events: bytes) -> None:
        """Count events that are nothing but content, and learn how the last one looks: more like it will follow."""
        if self._count(events):
            self._learn(events)

    def _count(self, events: bytes) -> int:
        """Count events that are nothing but content, and return how many they are."""
        number = events.count(b"\ndata:") + events.startswith(b"data:")
        self._plain_events += number
        return number

    def _learn(self, events: bytes) -> None:
        """Know events that look like the last of these, unless something would have to be left out of them."""
        if self._lessons and not sse.has_ids(events):
            self._lessons -= 1
            self._repeated = EventTemplate.learn(events, self._texts) or self._repeated

    def _saw_content(self) -> None:
        """Note an event with content; the first one is the first token."""
        self._content_events += 1
        if self._context.first_token_at is None:
            self._context.first_token_at = perf_counter()

    def _fail(self, error: GatewayError) -> bytes:
        """Note an error that the engine reported within its stream, and give it in our shape."""
        self.failure = error
        self.refused = self.events == 0
        self.complete = True
        return self.error(error)


class Dialect(ports.Dialect, Protocol):
    """What one family of endpoints needs besides reading its responses."""

    @property
    def names_request(self) -> bool:
        """Whether responses name their request in ``request-id`` too, as Anthropic's do."""

    @property
    def asks_usage(self) -> bool:
        """Whether a stream's usage has to be asked for with ``stream_options``."""

    def error_body(self, error: GatewayError) -> bytes:
        """Give the body of an error response."""


def earliest(data: bytes, *words: bytes) -> int:
    """Find where the first of several words stands; -1 if none does."""
    return min((at for word in words if (at := data.find(word)) >= 0), default=-1)
