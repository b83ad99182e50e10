"""What is written is OTLP: OpenTelemetry's messages read it, and its SDK writes the same for the same spans."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WrittenSpan
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags, TraceState
from opentelemetry.trace import SpanKind as SdkSpanKind

from gateway.observe.tracing.conventions import SCHEMA_URL
from gateway.observe.tracing.otlp import TraceEncoder
from gateway.observe.tracing.span import Span, SpanKind
from tests.kit.otlp import decoded

TRACE, SPAN, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "b7ad6b7169203331"
RESOURCE = {"service.name": "headgate", "service.version": "1.0"}
START, END = 1_700_000_000_123_456_789, 1_700_000_001_000_000_000

ROOT = Span(TRACE, SPAN, "", "", "POST /v1/chat/completions", SpanKind.SERVER, START, END, {})
EVERY_KIND = [
    ROOT,
    ROOT._replace(parent_id=PARENT, remote_parent=True, state="a=1,b=2"),
    ROOT._replace(parent_id=PARENT, kind=SpanKind.CLIENT, name="chat m", error="The engine is gone."),
    ROOT._replace(kind=SpanKind.INTERNAL, error=""),
    ROOT._replace(attributes={"text": 'a "b" \u00e9\n', "whole": 2**53 + 1, "exact": 0.25, "yes": True, "zero": 0}),
]


def by_the_sdk(spans: Sequence[Span]) -> list[ReadableSpan]:
    """Make the same spans as OpenTelemetry's SDK has them."""
    kinds = {
        SpanKind.SERVER: SdkSpanKind.SERVER,
        SpanKind.CLIENT: SdkSpanKind.CLIENT,
        SpanKind.INTERNAL: SdkSpanKind.INTERNAL,
    }
    made = []
    for span in spans:
        trace_id, flags = int(span.trace_id, 16), TraceFlags(TraceFlags.SAMPLED)
        state = TraceState.from_header([span.state]) if span.state else None
        own = SpanContext(trace_id, int(span.span_id, 16), is_remote=False, trace_flags=flags, trace_state=state)
        parent = None
        if span.parent_id:
            parent = SpanContext(trace_id, int(span.parent_id, 16), is_remote=span.remote_parent, trace_flags=flags)
        made.append(
            ReadableSpan(
                name=span.name,
                context=own,
                parent=parent,
                resource=Resource(RESOURCE, SCHEMA_URL),
                attributes=dict(span.attributes),
                kind=kinds[span.kind],
                status=Status(StatusCode.UNSET) if span.error is None else Status(StatusCode.ERROR, span.error or None),
                start_time=span.start,
                end_time=span.end,
                instrumentation_scope=InstrumentationScope("headgate", "1.0", SCHEMA_URL),
            )
        )
    return made


def test_the_sdk_writes_the_same_for_the_same_spans() -> None:
    encoder = TraceEncoder(RESOURCE, "1.0")
    body = encoder.whole([encoder.spans(EVERY_KIND[:2]), encoder.spans(EVERY_KIND[2:])])
    by_sdk = encode_spans(by_the_sdk(EVERY_KIND))
    for span in by_sdk.resource_spans[0].scope_spans[0].spans:
        # An unset status is written by the SDK as one without fields, which means the same as none.
        if span.status.ByteSize() == 0:
            span.ClearField("status")
    assert decoded("application/json", body) == by_sdk


@pytest.mark.parametrize("span", EVERY_KIND, ids=range(len(EVERY_KIND)))
def test_ids_are_hexadecimal_and_times_are_texts(span: Span) -> None:
    encoder = TraceEncoder(RESOURCE, "1.0")
    body = json.loads(encoder.whole([encoder.spans([span])]))
    (written,) = body["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert (written["traceId"], written["spanId"]) == (TRACE, SPAN)
    assert written["startTimeUnixNano"] == "1700000000123456789"
    assert written["kind"] in WrittenSpan.SpanKind.values()


def test_the_repr_tells_its_size() -> None:
    assert repr(TraceEncoder({}, "1")).startswith("<TraceEncoder [")
