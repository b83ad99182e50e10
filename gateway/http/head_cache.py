"""Skips parsing a head that is byte-identical, except for content-length, to one that was parsed before.

A connection that is kept sends the same head again and again. What the same bytes mean need not be found out twice, so
a message is recognised by the bytes before and behind the number in its content-length, and taken without parsing.
"""

from __future__ import annotations

import re
from typing import Generic, Self, TypeVar

import msgspec

MOST_DIGITS = 15
"""How long a content-length may be in a message whose head is recognised."""

_END = b"\r\n\r\n"

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,%d})(?=\r\n)" % MOST_DIGITS, re.IGNORECASE)

Value = TypeVar("Value")


class CachedHead(msgspec.Struct, Generic[Value], frozen=True):
    """The bytes of a head around its content-length, without the empty line, and what was made of them."""

    before: bytes
    after: bytes
    value: Value

    @classmethod
    def learn(cls, data: bytes, body_bytes: int, value: Value) -> Self | None:
        """Cache the head of the message that ``data`` is; ``None`` if that is not one whole message of given length.

        ``data`` must have been parsed, so that everything is known to be in order but the number.
        """
        end = data.find(_END)
        length = _LENGTH.search(data, 0, end + len(_END))
        if length is None or int(length[1]) != body_bytes or end + len(_END) + body_bytes != len(data):
            return None
        start, stop = length.span(1)
        return cls(data[:start], data[stop:end], value)


class SharedHead(Generic[Value]):
    """The head that was cached last by any of the caches that share this.

    A thousand engines of one kind send the same head, and where it has the date, the same one in the same second. What
    one cache has learned is then good for all, and there is one copy of it in the processor's caches.
    """

    __slots__ = ("newest",)

    def __init__(self) -> None:
        self.newest: CachedHead[Value] | None = None

    def __repr__(self) -> str:
        return f"<SharedHead [{'none' if self.newest is None else repr(self.newest.value)}]>"


class HeadCache(Generic[Value]):
    """Recognises the head that was learned last, here or by a cache that shares it; one that is off never does."""

    __slots__ = ("_enabled", "_known", "_shared")

    def __init__(self, shared: SharedHead[Value] | None = None, *, enabled: bool = True) -> None:
        self._enabled = enabled
        self._known: CachedHead[Value] | None = None
        self._shared = shared

    def __repr__(self) -> str:
        state = "off" if not self._enabled else "empty" if self._known is None else repr(self._known.value)
        return f"<HeadCache [{state}]>"

    def match(self, data: bytes) -> tuple[Value, bytes] | None:
        """Return the value and the body, if ``data`` is exactly one whole message with a head that is known."""
        known, shared = self._known, self._shared
        if known is None and shared is None:
            return None
        head, end, body = data.partition(_END)
        if not end:
            return None
        length = len(body)
        if known is not None and head == b"%b%d%b" % (known.before, length, known.after):
            return known.value, body
        newest = None if shared is None else shared.newest
        if newest is None or newest is known or head != b"%b%d%b" % (newest.before, length, newest.after):
            return None
        self._known = newest
        return newest.value, body

    def learn(self, data: bytes, body_bytes: int, value: Value) -> None:
        """Recognise the head of the message that ``data`` is from now on, if it can be."""
        if not self._enabled:
            return
        learned = CachedHead.learn(data, body_bytes, value)
        if learned is not None:
            self._known = learned
            if self._shared is not None:
                self._shared.newest = learned

    def forget(self) -> None:
        """Recognise nothing until another head is learned."""
        self._known = None
