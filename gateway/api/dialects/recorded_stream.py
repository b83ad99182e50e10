"""The stream of a completion whose text is kept, so that another replica can go on with it where the first one dies.

The text is kept as it stands in the events, without their framing: some five bytes for a token. An event that is like
the one before costs no call more for it.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from gateway.api.dialects.completions_stream import CompletionsStream
from gateway.api.dialects.continued_events import ContinuedEvents, Identity, text_of
from gateway.api.dialects.continued_request import continued_request
from gateway.core.context import RequestContext
from gateway.core.errors import GatewayError
from gateway.exchange import ports
from gateway.http import sse

MAX_TEXT_BYTES = 256 * 1024
"""A longer text is not kept, and its stream not continued: about 60,000 tokens."""


class _Event(Identity):
    """What is kept of one event."""

    choices: list[dict[str, Raw]] | None = None


_EVENT = msgspec.json.Decoder(_Event)
_TEXT = msgspec.json.Decoder(str)


class RecordedStream(CompletionsStream):
    """Reads a stream like any other, and keeps the text of its one choice."""

    __slots__ = ("_first", "_room", "_text")

    def __init__(self, context: RequestContext, *, strip_usage: bool) -> None:
        super().__init__(context, strip_usage=strip_usage)
        self._text = bytearray()
        self._first: Identity | None = None
        self._room = MAX_TEXT_BYTES
        """How many bytes are kept; 0 from where the stream has brought anything but text."""

    def passes(self, data: bytes) -> int:
        """Tell how many bytes of ``data`` are chunks of events that hold nothing but content, and keep their texts."""
        template, kept = self._template, self._text
        if template is not None and len(kept) < self._room:
            text = template.text_in_chunk(data)
            if text is not None:
                self._plain_events += 1
                kept += text
                return len(data)
            events, size = template.count_matches(data, in_chunks=True)
            if events:
                self._plain_events += events
                kept += template.texts_in(data[:size])
                return size
        return super().passes(data)

    def feed(self, events: bytes) -> bytes:
        """Read whole events, keep their texts, and return those that the client gets."""
        template = self._template
        if template is None or self.complete or len(self._text) >= self._room:
            return super().feed(events)
        count, size = template.count_matches(events, in_chunks=False)
        self._plain_events += count
        self._text += template.texts_in(events[:size])
        return events[:size] + self._feed_unlike(events[size:])

    def finish(self) -> bytes | None:
        """Give the end marker if the choice is finished and no usage is owed; else ``None``."""
        self._reopen()
        return self.end(b"") if self._strip_usage or self._metered else None

    def resume(self, body: bytes, usage_bytes: int) -> ports.Continuation | None:
        """Ask for the rest of the text, or for the usage alone where that is all that is missing."""
        self._reopen()
        if self._first is None or len(self._text) >= self._room:
            return None
        try:
            text = _TEXT.decode(b'"%b"' % bytes(self._text))
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        context = self._context
        tokens = context.output_tokens if self._metered else self._content_events + self._plain_events
        finished = self._missing_end() is not None
        asked = continued_request(body, usage_bytes, text, tokens=tokens, finished=finished)
        if asked is None:
            return None
        return ContinuedEvents(
            asked,
            self._first,
            tokens=tokens,
            prompt_tokens=context.input_tokens if self._metered else None,
            finished=finished,
        )

    def _reopen(self) -> None:
        """Read on behind an error that was withheld."""
        self.failure = None
        self.complete = self.withheld = False

    def _fail(self, error: GatewayError) -> bytes:
        said = super()._fail(error)
        self.withheld = error.status >= 500
        return b"" if self.withheld else said

    def _read(self, event: bytes, data: bytes) -> bytes:
        given = super()._read(event, data)
        if not self.complete and len(self._text) < self._room:
            self._record(data)
        return given

    def _count(self, events: bytes) -> int:
        number = super()._count(events)
        if number and len(self._text) < self._room:
            for event in sse.split(events):
                self._record(sse.data_of(event))
        return number

    def _record(self, data: bytes) -> None:
        """Keep what an event says, if it is nothing but text of the first choice."""
        try:
            event = _EVENT.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._room = 0
            return
        if self._first is None:
            self._first = Identity(event.id, event.created, event.model)
        for choice in event.choices or ():
            text = text_of(choice)
            if text is None:
                self._room = 0
            else:
                self._text += text
