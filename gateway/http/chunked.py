"""One chunk of a chunked body, told by its bytes alone (RFC 9112, section 7.1)."""

from __future__ import annotations

LONGEST = 1024
"""Only chunks shorter than this, in bytes with their framing, are told; those of single events are."""

_END_OF_EVENTS = b"\n\n\r\n"
"""How a chunk ends whose last event is whole."""


def _size_line(whole: int) -> bytes:
    """Give the first line of a chunk of ``whole`` bytes, framing included; a longer one where no chunk is that long."""
    for digits in (1, 2, 3):
        line = b"%x\r\n" % max(0, whole - digits - 4)
        if len(line) == digits + 2 and whole > digits + 4:
            return line
    return bytes(LONGEST)


SIZE_LINES = tuple(map(_size_line, range(LONGEST)))
"""How a chunk begins, by its length with its framing; if none is so long, with more bytes than it has."""


def start_of_events(data: bytes) -> int:
    """Tell where the data begins of one short chunk that ends with an event's end; 0 if ``data`` is no such chunk.

    The chunk is whole, with its framing, and nothing follows it.
    """
    size = len(data)
    if size < LONGEST and data.endswith(_END_OF_EVENTS) and data.startswith(SIZE_LINES[size]):
        return len(SIZE_LINES[size])
    return 0
