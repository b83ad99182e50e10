"""An event like the one before: in a stream of tokens only the text differs from one event to the next.

Searching an event for every word that could matter costs more than all the rest of its way. One that is known by the
bytes before and behind its text, and whose text holds no quote, has the same fields and so no other meaning.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Self

import msgspec

from gateway.http.chunked import LONGEST, SIZE_LINES

# As numbers, for which Python 3.11 looks through bytes ten times as fast as for a byte.
_NEWLINE = ord("\n")
_CARRIAGE_RETURN = ord("\r")
_QUOTE = ord('"')

_SHORTEST_SIZE_LINE = 4
"""The bytes of a chunk's first line, at least: two digits and the end of the line."""

_REST_OF_STRING = re.compile(rb'[^"\\\n]*(?:\\[^\n][^"\\\n]*)*(?=")')
"""A JSON string from behind its opening quote to before its closing one (RFC 8259, section 7)."""


class EventTemplate(msgspec.Struct, frozen=True):
    """The bytes of an event around its text."""

    before: bytes
    after: bytes
    after_in_chunk: bytes
    """What is behind the text of an event that is alone in its chunk."""
    around: int
    """How many bytes are before and behind the text of such an event."""

    @classmethod
    def learn(cls, events: bytes, fields: Iterable[bytes]) -> Self | None:
        """Know the last of some events by the first of ``fields`` that it has; ``None`` if it has none.

        It must have been read and found to be nothing but content. A field is written with its opening quote:
        ``"text":"``.
        """
        if _CARRIAGE_RETURN in events:
            return None
        before_last = events.rfind(b"\n\n", 0, -2)
        event = events[before_last + 2 :] if before_last >= 0 else events
        for field in fields:
            at = event.find(field)
            text = _REST_OF_STRING.match(event, at + len(field)) if at >= 0 else None
            if text is not None:
                before, after = event[: text.start()], event[text.end() :] + b"\r\n"
                return cls(before, after[:-2], after, len(before) + len(after))
        return None

    @property
    def example(self) -> bytes:
        """An event like it, with an empty text."""
        return self.before + self.after

    def text_in_chunk(self, data: bytes) -> bytes | None:
        """Give the text of ``data`` if that is one chunk, with its framing, of an event like this one and nothing else.

        The text is as it stands in JSON, without its quotes; ``None`` if ``data`` is anything else. So most events
        come, one by one, and a chunk of known length is compared from both of its ends.
        """
        size = len(data)
        if size >= LONGEST:
            return None
        size_line = SIZE_LINES[size]
        text = data.removeprefix(size_line + self.before).removesuffix(self.after_in_chunk)
        is_alike = size - len(text) == len(size_line) + self.around and _QUOTE not in text and _NEWLINE not in text
        return text if is_alike else None

    def texts_in(self, data: bytes) -> bytes:
        """Join the texts of those events that ``count_matches`` has counted in ``data``, as they stand in JSON."""
        return b"".join([piece[: piece.index(b'"')] for piece in data.split(self.before)[1:]])

    def count_matches(self, data: bytes, *, in_chunks: bool) -> tuple[int, int]:
        """Count the events at the beginning of ``data`` that are like this one but for their texts.

        With ``in_chunks``, ``data`` are chunks with their framing, of which those count that hold one such event each.
        Returns how many events there are, and how many bytes they have, framing included.
        """
        before, after = self.before, self.after_in_chunk if in_chunks else self.after
        before_bytes, after_bytes = len(before), len(after)
        count = at = start = 0
        last = len(data) - before_bytes - after_bytes - (_SHORTEST_SIZE_LINE if in_chunks else 0)
        while at <= last:
            if in_chunks:
                # The size of an event has two digits or three.
                start = at + (4 if data[at + 2] == _CARRIAGE_RETURN else 5)
            text = start + before_bytes
            if data[start:text] != before:
                break
            # The quote that ends the text is the first byte of ``after``.
            end = data.find(b'"', text)
            stop = end + after_bytes
            if data[end:stop] != after or data.find(b"\n", text, end) >= 0:
                break
            if in_chunks and (stop - at >= LONGEST or not data.startswith(SIZE_LINES[stop - at], at)):
                break
            count += 1
            at = start = stop
        return count, at
