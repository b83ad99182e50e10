"""The streams of OpenAI's chat completions and completions.

Events are unnamed; a chunk with an empty ``choices`` carries the usage, and ``data: [DONE]`` is the end. Some engines
leave that out; then a ``finish_reason`` for every choice says that all has come.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec
from msgspec import Raw
from msgspec.structs import astuple

from gateway.api.dialects import usage
from gateway.api.dialects.stream_reader import DONE, NOTHING, NULL, MeteredStream, earliest
from gateway.core.context import RequestContext
from gateway.core.engine_error import from_event
from gateway.core.errors import GatewayError
from gateway.http import sse

_DONE_EVENT = b"data: [DONE]\n\n"

_EMPTY_FIELDS = (
    (b'"usage":', b'"usage":null'),
    (b'"finish_reason":"', b'"finish_reason":""'),
    (b'"finish_reason": "', b'"finish_reason": ""'),
)
"""The fields that make an event more than content, and how they look where they say nothing."""


class Delta(msgspec.Struct):
    """The parts of a delta that hold something to read; ``role`` alone is no content."""

    content: Raw = NULL
    reasoning: Raw = NULL
    reasoning_content: Raw = NULL
    refusal: Raw = NULL
    tool_calls: Raw = NULL
    function_call: Raw = NULL

    @property
    def empty(self) -> bool:
        """Whether there is nothing to read in it."""
        return NOTHING.issuperset(map(bytes, astuple(self)))


class Choice(msgspec.Struct):
    """One choice of a chunk: chat has a ``delta``, a completion has ``text``."""

    index: int | None = None
    delta: Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class Chunk(msgspec.Struct):
    """What is read of one event."""

    choices: list[Choice] | None = None
    error: Raw = NULL

    @property
    def has_content(self) -> bool:
        """Whether any choice brings something to read."""
        return any(
            choice.text or (choice.delta is not None and not choice.delta.empty) for choice in self.choices or ()
        )


_CHUNK = msgspec.json.Decoder(Chunk)


class CompletionsStream(MeteredStream):
    """Reads the chunks of a completion, and leaves out the usage event where the client did not ask for it."""

    __slots__ = ("_finished", "_seen", "_strip_usage")

    _texts: ClassVar[tuple[bytes, ...]] = (b'"content":"', b'"text":"')

    def __init__(self, context: RequestContext, *, strip_usage: bool) -> None:
        super().__init__(context)
        self._strip_usage = strip_usage
        self._seen: set[int] = set()
        self._finished: set[int] = set()

    def error(self, error: GatewayError) -> bytes:
        """Write the error event that OpenAI's SDK raises, and the end marker that every client waits for."""
        return b"data: %b\n\n%b" % (error.body(), _DONE_EVENT)

    def _missing_end(self) -> bytes | None:
        """Give the end marker if every choice has a ``finish_reason``, also those whose events passed unread.

        Such a choice is known by the templates, which were learned from events that were unlike those before.
        """
        for template in self._templates:
            self._note_choices(_chunk(sse.data_of(template.example)))
        finished = self._finished
        # Choices are numbered from 0 on.
        is_complete = self._seen <= finished and len(finished) == max(finished, default=0) + 1
        return _DONE_EVENT if is_complete else None

    def _fact_at(self, events: bytes) -> int:
        if (
            events.find(b'"usage":') < 0
            and events.find(DONE) < 0
            and events.find(b'"error":') < 0
            and events.find(b'"finish_reason":"') < 0
            and events.find(b'"finish_reason": "') < 0
        ):
            return -1
        # Some engines say in each event that its usage is null, or that it has no reason to finish yet.
        words = [DONE, b'"error":']
        for field, nothing in _EMPTY_FIELDS:
            if events.count(field) != events.count(nothing):
                words.append(field)
        return earliest(events, *words)

    def _read(self, event: bytes, data: bytes) -> bytes:
        if data.rstrip() == DONE:
            self.complete = True
            return event
        chunk = _chunk(data)
        if chunk is None:
            return event
        if bytes(chunk.error) not in NOTHING:
            return self._fail(from_event(data))
        self._note_choices(chunk)
        if chunk.has_content:
            self._saw_content()
        if b'"usage":' in data and usage.meter_event(self._context, data):
            self._metered = True
            if self._strip_usage and not chunk.choices:
                return b""
        return event

    def _note_choices(self, chunk: Chunk | None) -> None:
        """Note which choices there are, and which of them are finished."""
        if chunk is None or not chunk.choices:
            return
        for choice in chunk.choices:
            index = choice.index or 0
            self._seen.add(index)
            if choice.finish_reason:
                self._finished.add(index)


def _chunk(data: bytes) -> Chunk | None:
    """Read the data of an event; ``None`` for what is no chunk, which the client may judge."""
    try:
        return _CHUNK.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
