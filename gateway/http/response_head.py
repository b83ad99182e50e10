"""The head of an engine's response: what the way down has to know of it, found out once."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto

import msgspec

from gateway.http.head_cache import HeadCache, SharedHead
from gateway.http.request_head import HARMLESS_IN_CONNECTION, HOP_BY_HOP, UNCODED, tokens

_NOT_PASSED_DOWN = HOP_BY_HOP | {
    b"access-control-allow-credentials",
    b"access-control-allow-headers",
    b"access-control-allow-methods",
    b"access-control-allow-origin",
    b"access-control-expose-headers",
    b"access-control-max-age",
    b"content-length",
    b"endpoint-load-metrics",
    b"endpoint-load-metrics-bin",
    b"server",
    b"set-cookie",
    b"request-id",
    b"x-request-id",
    b"openai-processing-ms",
    b"alt-svc",
    b"strict-transport-security",
}

_OF_STREAMS = (frozenset[bytes](), frozenset({b"content-type", b"cache-control", b"x-accel-buffering"}))
"""What the gateway says by itself about a response that is no stream of events, and about one that is."""


class Kind(Enum):
    """What a response is, by its status and media type."""

    WHOLE = auto()
    EVENTS = auto()
    ERROR = auto()


# Python 3.11 looks up an enum's member by a call, seven times as slow as a name.
WHOLE, EVENTS, ERROR = Kind


class ResponseHead(msgspec.Struct, frozen=True):
    """Status and header lines, as they came, of an engine's response.

    ``length`` is that of the body in bytes, ``None`` if the head does not say it; ``framed`` is false for a body that
    lasts until the connection closes. ``down`` are the lines that may reach the client. Events that are compressed are
    none that could be told apart: such a response is relayed as any other.
    """

    status: int
    lines: Sequence[tuple[bytes, bytes]]
    length: int | None
    framed: bool
    kind: Kind
    down: bytes
    load: bytes | None = None
    """What the engine says of its load (``endpoint-load-metrics``), if it does."""

    @classmethod
    def read(cls, status: int, lines: Sequence[tuple[bytes, bytes]]) -> ResponseHead:
        """Read a head's lines. Raises ``ValueError`` for one that says in two ways where it ends (RFC 9112, 6.3)."""
        length: int | None = None
        load: bytes | None = None
        framed = is_events = is_compressed = False
        passed = []
        withheld: set[bytes] = set()
        for name, value in lines:
            name = name.lower()
            if name not in _NOT_PASSED_DOWN:
                passed.append((name, value))
                if name == b"content-type":
                    is_events = value.lower().startswith(b"text/event-stream")
                elif name == b"content-encoding":
                    is_compressed = not tokens(value) <= UNCODED
            elif name == b"content-length" or name == b"transfer-encoding":
                if framed:
                    raise ValueError("a response that says twice where it ends")
                framed = True
                if name == b"content-length":
                    length = int(value)
                elif value.lower() != b"chunked":
                    raise ValueError("a transfer-encoding that was not asked for")
            elif name == b"connection":
                withheld |= tokens(value) - HARMLESS_IN_CONNECTION
            elif name == b"endpoint-load-metrics":
                load = value
        is_events = is_events and not is_compressed
        withheld |= _OF_STREAMS[is_events]
        if withheld:
            passed = [pair for pair in passed if pair[0] not in withheld]
        down = b"".join([b"%b: %b\r\n" % pair for pair in passed])
        kind = ERROR if status >= 300 else EVENTS if is_events else WHOLE
        return cls(status, lines, length, framed, kind, down, load)

    def of_any_length(self) -> ResponseHead:
        """Give the head of all responses that differ from this one in their length only."""
        lines = [line for line in self.lines if line[0].lower() != b"content-length"]
        return msgspec.structs.replace(self, lines=lines, length=None)

    def first(self, name: bytes) -> bytes | None:
        """Return the first value of a header."""
        return next((value for key, value in self.lines if key.lower() == name), None)


class ResponseHeads(HeadCache[ResponseHead]):
    """Recognises the heads of responses from one address: by their bytes, or by their lines where they were parsed."""

    __slots__ = ("_last", "latest_load")

    def __init__(self, shared: SharedHead[ResponseHead] | None = None, *, enabled: bool = True) -> None:
        super().__init__(shared, enabled=enabled)
        self._last: ResponseHead | None = None
        self.latest_load: ResponseHead | None = None
        """The head that was read last with the engine's load in it."""

    def read(self, status: int, lines: Sequence[tuple[bytes, bytes]]) -> ResponseHead:
        """Read a head's lines, unless they are those that were read last. Raises ``ValueError``."""
        last = self._last
        if last is not None and last.status == status and last.lines == lines:
            return last
        head = ResponseHead.read(status, lines)
        if head.load is not None:
            self.latest_load = head
        if self._enabled:
            self._last = head
        return head
