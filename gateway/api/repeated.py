"""An event like the one before: in a stream of tokens only the text differs from one event to the next.

Searching an event for every word that could matter costs more than all the rest of its way. One that is known by the
bytes before and behind its text, and whose text holds no quote, has the same fields and so no other meaning.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Self

import msgspec

from gateway.http.chunk import LONGEST, SIZE_LINES

_CARRIAGE_RETURN = 13

_SHORTEST_SIZE_LINE = 4
"""The bytes of a chunk's first line, at least: two digits and the end of the line."""

_REST_OF_STRING = re.compile(rb'[^"\\\n]*(?:\\[^\n][^"\\\n]*)*(?=")')
"""A JSON string from behind its opening quote to before its closing one (RFC 8259, section 7)."""


class RepeatedEvent(msgspec.Struct, frozen=True):
    """The bytes of an event around its text, and of the end of its chunk."""

    before: bytes
    before_bytes: int
    after: bytes
    after_bytes: int

    @classmethod
    def learn(cls, events: bytes, fields: Iterable[bytes]) -> Self | None:
        """Know the last of some events by the first of ``fields`` that it has; ``None`` if it has none.

        It must have been read and found to be nothing but content. A field is written with its opening quote:
        ``"text":"``.
        """
        if b"\r" in events:
            return None
        before_last = events.rfind(b"\n\n", 0, -2)
        event = events[before_last + 2 :] if before_last >= 0 else events
        for field in fields:
            at = event.find(field)
            text = _REST_OF_STRING.match(event, at + len(field)) if at >= 0 else None
            if text is not None:
                before, after = event[: text.start()], event[text.end() :] + b"\r\n"
                return cls(before, len(before), after, len(after))
        return None

    def repeats(self, data: bytes) -> tuple[int, int]:
        """Count the chunks at the beginning of ``data`` that hold one event each, like this one but for its text.

        Returns how many there are, and how many bytes they have with their framing.
        """
        before, before_bytes, after, after_bytes = self.before, self.before_bytes, self.after, self.after_bytes
        events = at = 0
        last = len(data) - before_bytes - after_bytes - _SHORTEST_SIZE_LINE
        while at <= last:
            # The size of an event has two digits or three.
            start = at + (4 if data[at + 2] == _CARRIAGE_RETURN else 5)
            text = start + before_bytes
            if data[start:text] != before:
                break
            # The quote that ends the text is the first byte of ``after``.
            end = data.find(b'"', text)
            stop = end + after_bytes
            if (
                data[end:stop] != after
                or stop - at >= LONGEST
                or not data.startswith(SIZE_LINES[stop - at], at)
                or data.find(b"\n", text, end) >= 0
            ):
                break
            events += 1
            at = stop
        return events, at
