"""Server-sent events as bytes: cutting a byte stream at the ends of events, and reading single events.

The gateway forwards whole events only, so that what it adds (a comment, an error) can never land in the middle of one.
Nothing here decodes an event that does not have to be decoded. Format: WHATWG HTML, "Server-sent events".
"""

from __future__ import annotations

import re
from collections.abc import Iterator

KEEP_ALIVE = b": keep-alive\n\n"

MAX_EVENT_BYTES = 16 * 1024 * 1024
"""An engine that sends this much without ending an event is not speaking SSE."""


_CARRIAGE_RETURN = ord("\r")
"""As a number, for which Python 3.11 looks through bytes ten times as fast as for a byte."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_ID_LINE = re.compile(rb"^id:[^\n]*\n", re.MULTILINE)
_DATA_LINE = re.compile(rb"^data: ?+[^\n]", re.MULTILINE)


class EventTooLarge(ValueError):
    """The stream does not end its events."""


class EventSplitter:
    """Takes chunks as they come and gives back only whole events, keeping the unfinished rest.

    All lines end with a line feed in what comes out, whichever way they ended before, and a byte order mark at the
    start of the stream is left out: not every client knows those.
    """

    __slots__ = ("_after_carriage_return", "_rest", "_unsettled")

    def __init__(self) -> None:
        self._rest = b""
        self._unsettled = True
        """At the start of the stream, or behind a carriage return, a first byte may have to be left out."""
        self._after_carriage_return = False

    @property
    def pending(self) -> int:
        """How many bytes of an unfinished event are held back."""
        return len(self._rest)

    def feed(self, data: bytes) -> bytes:
        """Add a chunk and return all events that are whole now, ``b""`` if none is.

        Raises ``EventTooLarge`` when an unfinished event passes ``MAX_EVENT_BYTES``.
        """
        if self._unsettled or _CARRIAGE_RETURN in data:
            data = self._settle(data)
        if self._rest:
            data = self._rest + data
            self._rest = b""
        if data.endswith(b"\n\n"):
            return data
        newline = data.rfind(b"\n\n")
        end = newline + 2 if newline >= 0 else 0
        if len(data) - end > MAX_EVENT_BYTES:
            raise EventTooLarge(f"an event of more than {MAX_EVENT_BYTES} bytes")
        self._rest = data[end:]
        return data[:end]

    def flush(self) -> bytes:
        """Give what is left at the end of the stream, as an event with its blank line; ``b""`` if nothing is."""
        rest, self._rest = self._rest.rstrip(b"\n"), b""
        return rest + b"\n\n" if rest else b""

    def _settle(self, data: bytes) -> bytes:
        """End all lines with a line feed, and leave out the byte order mark and the second half of a line's end."""
        if self._after_carriage_return:
            data = data.removeprefix(b"\n")
        elif self._unsettled:
            data = self._rest + data
            self._rest = b""
            if len(data) < len(_BYTE_ORDER_MARK) and _BYTE_ORDER_MARK.startswith(data):
                self._rest = data
                return b""
            data = data.removeprefix(_BYTE_ORDER_MARK)
        self._after_carriage_return = self._unsettled = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def split(events: bytes) -> Iterator[bytes]:
    """Cut whole events into single ones, each with the blank line that ends it; joined they are the same bytes."""
    at = 0
    while (end := events.find(b"\n\n", at)) >= 0:
        yield events[at : end + 2]
        at = end + 2
    if at < len(events):
        yield events[at:]


def without_ids(events: bytes) -> bytes:
    """Leave out the ``id`` lines of whole events: no stream can be resumed here, and some clients fail on them.

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
    if event.startswith(b"data: ") and event.find(b"\n") == len(event) - 2:
        return event[6:-2]
    found = [line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(found)


def comments_of(block: bytes) -> bytes:
    """Return the comments of a block that is no event because it has no data, as a block of their own."""
    comments = [line for line in block.split(b"\n") if line.startswith(b":")]
    return b"\n".join(comments) + b"\n\n" if comments else b""
