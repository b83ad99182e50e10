"""Server-sent events as bytes: cutting a byte stream at the ends of events, and reading single events.

The gateway forwards whole events only, so that whatever it has to add (a comment, an error) can never land in the
middle of one. Nothing here decodes an event that does not have to be decoded. Format: WHATWG HTML, "Server-sent
events".
"""

from __future__ import annotations

import re
from collections.abc import Iterator

KEEP_ALIVE = b": keep-alive\n\n"

MAX_EVENT_BYTES = 16 * 1024 * 1024
"""An engine that sends this much without ending an event is not speaking SSE."""


_CARRIAGE_RETURN = ord("\r")
"""As a number, for which Python 3.11 looks through bytes ten times as fast as for a byte."""

_ID_LINE = re.compile(rb"^id:[^\n]*\n", re.MULTILINE)
_DATA_LINE = re.compile(rb"(?:^|\r)data: ?+[^\r\n]", re.MULTILINE)


class EventTooLarge(ValueError):
    """The stream does not end its events."""


class EventSplitter:
    """Takes chunks as they come and gives back only whole events, keeping the unfinished rest."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    @property
    def pending(self) -> int:
        """How many bytes of an unfinished event are held back."""
        return len(self._rest)

    def feed(self, data: bytes) -> bytes:
        """Add a chunk and return all events that are whole now, ``b""`` if none is.

        Raises ``EventTooLarge`` when an unfinished event passes ``MAX_EVENT_BYTES``.
        """
        if self._rest:
            data = self._rest + data
            self._rest = b""
        if data.endswith(b"\n\n"):
            return data
        newline, carriage = data.rfind(b"\n\n"), data.rfind(b"\n\r\n")
        end = max(newline + 2 if newline >= 0 else 0, carriage + 3 if carriage >= 0 else 0)
        if len(data) - end > MAX_EVENT_BYTES:
            raise EventTooLarge(f"an event of more than {MAX_EVENT_BYTES} bytes")
        self._rest = data[end:]
        return data[:end]


def split(events: bytes) -> Iterator[bytes]:
    """Cut whole events into single ones, each with the blank line that ends it; joined they are the same bytes."""
    if _CARRIAGE_RETURN not in events:
        at = 0
        while (end := events.find(b"\n\n", at)) >= 0:
            yield events[at : end + 2]
            at = end + 2
        if at < len(events):
            yield events[at:]
        return
    lines: list[bytes] = []
    for line in events.splitlines(keepends=True):
        lines.append(line)
        if line in (b"\n", b"\r\n"):
            yield b"".join(lines)
            lines = []
    if lines:
        yield b"".join(lines)


def without_ids(events: bytes) -> bytes:
    """Leave out the ``id`` lines of whole events; nobody can resume a stream here, and some clients stumble over them.

    OpenAI's SDK remembers an id and takes every comment behind it for an event, without data and so not readable.
    """
    return _ID_LINE.sub(b"", events) if has_ids(events) else events


def has_ids(events: bytes) -> bool:
    """Whether there may be an ``id`` line among these events."""
    return events.find(b"id:") >= 0


def has_data(events: bytes) -> bool:
    """Whether any of these events holds something; comments do not."""
    return _DATA_LINE.search(events) is not None


def data_of(event: bytes) -> bytes:
    """Return what the ``data`` lines of one event hold, joined by line feeds; ``b""`` for a comment."""
    if event.startswith(b"data: ") and event.find(b"\n") == len(event) - 2 and _CARRIAGE_RETURN not in event:
        return event[6:-2]
    found = [line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:")]
    return b"\n".join(found)
