"""One span, before it is written as OTLP."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple

Value = str | int | float | bool


class SpanKind(IntEnum):
    """The role of a span, numbered as in OTLP."""

    INTERNAL = 1
    SERVER = 2
    CLIENT = 3


class Span(NamedTuple):
    """One operation. Times are Unix times in nanoseconds, and ids hexadecimal; the parent's is empty for a root."""

    trace_id: str
    span_id: str
    parent_id: str
    state: str
    name: str
    kind: SpanKind
    start: int
    end: int
    attributes: Mapping[str, Value]
    error: str | None = None
    """What went wrong, in words that hold nothing of a prompt or an answer; ``None`` if nothing did."""
    remote_parent: bool = False
    """Whether the parent span is another service's."""
