"""What the readers of all dialects' streams share: counting events, metering usage, and knowing when it is over."""

from __future__ import annotations

from abc import ABC, abstractmethod
from time import perf_counter
from typing import ClassVar, Protocol

import msgspec
from msgspec import Raw

from gateway.api.dialects.event_template import EventTemplate
from gateway.core.context import RequestContext
from gateway.core.errors import GatewayError
from gateway.exchange import ports
from gateway.http import sse
from gateway.http.chunked import start_of_events

DONE = b"[DONE]"
"""The data of the event that ends OpenAI's streams."""

NULL = Raw(b"null")

NOTHING = frozenset({b"null", b"false", b'""', b"[]", b"{}"})
"""What fields hold that say nothing, as JSON."""

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
        "_reads_each",
        "_template",
        "_templates",
        "complete",
        "failure",
        "refused",
        "withheld",
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
        self._template: EventTemplate | None = None
        self._templates: tuple[EventTemplate, ...] = ()
        self._lessons = MAX_TEMPLATES
        self._reads_each = False
        self.complete = False
        self.failure: GatewayError | None = None
        self.refused = False
        self.withheld = False

    def read_each_event(self) -> None:
        """Read every event by itself: recognise none by its bytes, and let none pass unread among others."""
        self._reads_each = True
        self._lessons = 0

    @property
    def events(self) -> int:
        """How many events have been read or passed."""
        return self._read_events + self._plain_events

    def passes(self, data: bytes) -> int:
        """Tell how many bytes of ``data`` are chunks of whole events that hold nothing but content; those are counted.

        What is behind them has to be parsed, and fed.
        """
        template = self._template
        if template is not None:
            if template.text_in_chunk(data) is not None:
                self._plain_events += 1
                return len(data)
            events, size = template.count_matches(data, in_chunks=True)
            if events:
                self._plain_events += events
                return size
        if self._context.first_token_at is None or self._reads_each:
            return 0
        start = start_of_events(data)
        if not start or self._fact_at(data) >= 0 or sse.has_ids(data):
            return 0
        plain = data[start:-2]
        if not self._count(plain):
            return 0
        self._learn(plain)
        return len(data)

    def feed(self, events: bytes) -> bytes:
        """Read whole events and return those that the client gets: none behind the one that ends the stream."""
        template = self._template
        if template is None or self.complete:
            return self._feed_unlike(events)
        count, size = template.count_matches(events, in_chunks=False)
        self._plain_events += count
        return events[:size] + self._feed_unlike(events[size:])

    def _feed_unlike(self, events: bytes) -> bytes:
        """Read events that are not like those before."""
        if self.complete or not events:
            return b""
        if self._context.first_token_at is None or self._reads_each:
            return self._feed_each(events)
        fact_at = self._fact_at(events)
        end = len(events) if fact_at < 0 else events.rfind(b"\n\n", 0, fact_at) + 2
        plain = events[:end]
        if not self._count(plain):
            return self._feed_each(events)
        self._learn(plain)
        if fact_at < 0:
            return sse.without_ids(events)
        # Only the event with the fact and those behind it are looked at one by one.
        return sse.without_ids(plain) + self._feed_each(events[end:])

    def end(self, rest: bytes) -> bytes | None:
        """Decide, where the engine's body has ended cleanly, whether the stream is complete, and give its last bytes.

        ``rest`` is what stood behind the last blank line, as an event; one that was cut short is dropped. ``None`` says
        that the stream is not complete: its end marker is missing, and what came does not say that it was all.
        """
        last = self.feed(rest) if is_whole(sse.data_of(rest)) else b""
        if not self.complete:
            missing = b"" if self.failure is not None else self._missing_end()
            if missing is None:
                return None
            self.complete = True
            last += missing
        return last

    def finish(self) -> bytes | None:
        """Give the last bytes of a stream that was cut, if its client has all else; only what is recorded can tell."""
        return None

    def resume(self, body: bytes, usage_bytes: int) -> ports.Continuation | None:  # noqa: ARG002 - nothing is recorded
        """Tell how another replica can go on with a stream that was cut: not at all, unless it is recorded."""
        return None

    def settle(self) -> None:
        """Count what was sent, if the stream ended before its usage came: one token for each event with content."""
        if not self._metered:
            made = self._content_events + self._plain_events
            self._context.output_tokens = max(self._context.output_tokens, made)

    @abstractmethod
    def error(self, error: GatewayError) -> bytes:
        """Write ``error`` as the events that end a stream."""

    def _missing_end(self) -> bytes | None:
        """Give the end marker for an engine that has none, if all content has come; else ``None``."""
        return None

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
            if not data or data.startswith(b":"):
                # No data is no event, for which OpenAI's SDK fails; nor is a comment that was wrapped up as one.
                kept.append(sse.comments_of(event))
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

    def _count(self, events: bytes) -> int:
        """Count events that are nothing but content, and return how many they are; 0 if any has no object as data."""
        blocks = events.count(b"\n\n")
        number = events.count(b"\ndata: {") + events.startswith(b"data: {")
        if number != blocks:
            number = events.count(b"\ndata:{") + events.startswith(b"data:{")
            if number != blocks:
                return 0
        self._plain_events += number
        return number

    def _learn(self, events: bytes) -> None:
        """Know events that look like the last of these, unless something would have to be left out of them."""
        if self._lessons and not sse.has_ids(events):
            self._lessons -= 1
            template = EventTemplate.learn(events, self._texts)
            if template is not None:
                self._template = template
                self._templates = (*self._templates, template)

    def _saw_content(self) -> None:
        """Note an event with content; the first one is the first token."""
        self._content_events += 1
        if self._context.first_token_at is None:
            self._context.first_token_at = perf_counter()

    def _fail(self, error: GatewayError) -> bytes:
        """Note an error that the engine reported within its stream, and give it in our shape."""
        said = self.error(error)
        self.failure = error
        self.refused = self.events == 0
        self.complete = True
        return said


class Dialect(ports.Dialect, Protocol):
    """What one family of endpoints needs besides reading its responses."""

    @property
    def anthropic_headers(self) -> bool:
        """Whether responses have Anthropic's headers too: ``request-id``, and what is left of the limits of a key."""

    @property
    def recorded(self) -> ports.StreamFactory | None:
        """Begins to read a stream that another replica can go on with; ``None`` if none can."""

    @property
    def asks_usage(self) -> bool:
        """Whether a stream's usage has to be asked for with ``stream_options``."""

    def error_body(self, error: GatewayError) -> bytes:
        """Give the body of an error response."""


def is_whole(data: bytes) -> bool:
    """Whether the data of a stream's last event, which may have been cut short, are JSON or an end marker."""
    if data.rstrip() == DONE:
        return True
    try:
        msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def earliest(data: bytes, *words: bytes) -> int:
    """Find where the first of several words stands; -1 if none does."""
    return min((at for word in words if (at := data.find(word)) >= 0), default=-1)
