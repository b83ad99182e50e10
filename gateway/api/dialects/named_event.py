"""What kind of event one is, in the dialects whose events have names."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from gateway.api.dialects.stream_reader import NOTHING, NULL


class _Typed(msgspec.Struct):
    """What is read of an event's data."""

    type: str | None = None
    error: Raw = NULL


_TYPED = msgspec.json.Decoder(_Typed)


def kinds_of(event: bytes, data: bytes) -> set[str]:
    """Return what an event says it is: in its ``event`` line, and in the ``type`` of its data.

    Some clients read the one, some the other, and not every engine writes both. An event whose data hold an ``error``
    is one under any name.
    """
    kinds = {name_of(event)}
    try:
        typed = _TYPED.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return kinds
    if typed.type is not None:
        kinds.add(typed.type)
    if bytes(typed.error) not in NOTHING:
        kinds.add("error")
    return kinds


def name_of(event: bytes) -> str:
    """Return what the ``event`` line says, ``""`` if there is none."""
    for line in event.split(b"\n"):
        if line.startswith(b"event:"):
            return line[6:].strip().decode("utf-8", "replace")
    return ""
