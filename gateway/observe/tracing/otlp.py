"""Writes spans as OTLP does in JSON (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding).

It is the JSON of Protocol Buffers, in which 64-bit numbers are texts; but ids are hexadecimal, and enums are numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from gateway.observe.tracing.conventions import SCHEMA_URL
from gateway.observe.tracing.span import Span, Value

_HAS_IS_REMOTE = 0x100
_IS_REMOTE = 0x200
"""Flags of a span: whether its parent is another service's, and that this is known."""

_STATUS_ERROR = 2


class _Span(msgspec.Struct, rename="camel", omit_defaults=True, gc=False):
    trace_id: str
    span_id: str
    name: str
    kind: int
    start_time_unix_nano: str
    end_time_unix_nano: str
    flags: int
    trace_state: str = ""
    parent_span_id: str = ""
    attributes: list[dict[str, Any]] = []
    status: dict[str, Any] = {}


class TraceEncoder:
    """Writes the spans of one service. ``resource`` is what is known of it, ``version`` that of the gateway."""

    def __init__(self, resource: Mapping[str, Value], version: str) -> None:
        self._encode = msgspec.json.Encoder().encode
        before = {"resource": {"attributes": _attributes(resource)}, "schemaUrl": SCHEMA_URL}
        scope = {"scope": {"name": "headgate", "version": version}, "schemaUrl": SCHEMA_URL}
        begin = b'{"resourceSpans":[%b,"scopeSpans":[%b,"spans":['
        self._begin = begin % (self._encode(before)[:-1], self._encode(scope)[:-1])

    def __repr__(self) -> str:
        return f"<TraceEncoder [{len(self._begin)} bytes of resource]>"

    def spans(self, spans: Iterable[Span]) -> bytes:
        """Write spans, as a part of a request for ``whole``."""
        return b",".join(self._encode(_of(span)) for span in spans)

    def whole(self, parts: Iterable[bytes]) -> bytes:
        """Write a request that exports all these parts."""
        return b"%b%b]}]}]}" % (self._begin, b",".join(parts))


def _of(span: Span) -> _Span:
    written = _Span(
        span.trace_id,
        span.span_id,
        span.name,
        int(span.kind),
        str(span.start),
        str(span.end),
        _HAS_IS_REMOTE | _IS_REMOTE if span.remote_parent else _HAS_IS_REMOTE,
        span.state,
        span.parent_id,
        _attributes(span.attributes),
    )
    if span.error is not None:
        written.status = {"code": _STATUS_ERROR} | ({"message": span.error} if span.error else {})
    return written


def _attributes(attributes: Mapping[str, Value]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _any_value(value)} for key, value in attributes.items()]


def _any_value(value: Value) -> dict[str, Value]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    return {"stringValue": value}
