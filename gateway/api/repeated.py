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

_REST_OF_STRING = re.compile(rb'[^"\\\n]*(?:\\[^\n][^"\\\n]*)*(?=")')
"""A JSON string from behind its opening quote to before its closing one (RFC 8259, section 7)."""


class RepeatedEvent(msgspec.Struct, frozen=True):
    """The bytes of an event around its text."""

    before: bytes
    before_bytes: int
    after: bytes
    after_bytes: int

    @classmethod
    def learn(cls, chunk: bytes, start: int, fields: Iterable[bytes]) -> Self | None:
        """Know the event that begins at ``start`` by the first of ``fields`` that it has; ``None`` if it has none.

        The event must have been read and found to be nothing but content. A field is written with its opening quote:
        ``"text":"``.
        """
        if chunk.count(b"\n\n", start) != 1:
            return None
        for field in fields:
            at = chunk.find(field, start)
            text = _REST_OF_STRING.match(chunk, at + len(field)) if at >= 0 else None
            if text is not None:
                before, after = chunk[start : text.start()], chunk[text.end() :]
                return cls(before, len(before), after, len(after))
        return None

    def is_like(self, chunk: bytes) -> bool:
        """Whether this is one whole chunk with one event, which differs from this one in its text only."""
        size = len(chunk)
        if size >= LONGEST:
            return False
        line = SIZE_LINES[size]
        start = len(line)
        text, end = start + self.before_bytes, size - self.after_bytes
        # The quote that ends the text is the first byte of ``after``, so the text holds none if it is the next one.
        return (
            chunk.find(b'"', text) == end
            and chunk.startswith(self.before, start)
            and chunk.endswith(self.after)
            and chunk.startswith(line)
            and chunk.find(b"\n", text, end) < 0
        )
