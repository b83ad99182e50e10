"""A head that has come before: whoever keeps a connection sends the same one again and again.

What the same bytes mean need not be found out twice. From one message to the next only the length of the body differs,
so a head is known by the bytes before and behind that number, and a message that has them is taken without parsing.
"""

from __future__ import annotations

import re
from typing import Generic, Self, TypeVar

import msgspec

MOST_DIGITS = 15
"""How long a content-length may be in a message with a known head."""

_END = b"\r\n\r\n"

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,%d})(?=\r\n)" % MOST_DIGITS, re.IGNORECASE)

Meaning = TypeVar("Meaning")


class CachedHead(msgspec.Struct, Generic[Meaning], frozen=True):
    """The bytes of a head around its content-length, without the empty line, and what was made of them."""

    before: bytes
    after: bytes
    value: Meaning

    @classmethod
    def learn(cls, data: bytes, body_bytes: int, value: Meaning) -> Self | None:
        """Know the head of the message that ``data`` is; ``None`` if that is not one whole message of given length.

        ``data`` must have been parsed, so that everything is known to be in order but the number.
        """
        end = data.find(_END)
        length = _LENGTH.search(data, 0, end + len(_END))
        if length is None or int(length[1]) != body_bytes or end + len(_END) + body_bytes != len(data):
            return None
        start, stop = length.span(1)
        return cls(data[:start], data[stop:end], value)

    def body(self, data: bytes) -> bytes | None:
        """Give the body, if ``data`` is exactly one whole message with this head."""
        head, end, body = data.partition(_END)
        return body if end and head == b"%b%d%b" % (self.before, len(body), self.after) else None


class HeadCache(Generic[Meaning]):
    """The head that was learned last, by any of those who share this.

    A thousand engines of one kind send the same head, and where it has the date, the same one in the same second. What
    one has learned is then good for all, and there is one copy of it in the processor's caches.
    """

    __slots__ = ("newest",)

    def __init__(self) -> None:
        self.newest: CachedHead[Meaning] | None = None

    def __repr__(self) -> str:
        return f"<HeadCache [{'none' if self.newest is None else repr(self.newest.value)}]>"
