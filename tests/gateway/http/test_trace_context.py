"""Which trace a request belongs to: what is read from a client, and what a new trace looks like."""

from __future__ import annotations

from itertools import islice

import pytest
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gateway.http import trace_context

TRACE, SPAN = b"4bf92f3577b34da6a3ce929d0e0e4736", b"00f067aa0ba902b7"
VALID = b"00-%b-%b-01" % (TRACE, SPAN)


@pytest.mark.parametrize("flags", [b"00", b"01", b"02", b"03"])
def test_a_valid_context_goes_on_as_it_came(flags: bytes) -> None:
    lines = trace_context.read({b"traceparent": b"00-%b-%b-%b" % (TRACE, SPAN, flags), b"tracestate": b"a=1, b=2"})
    assert lines == b"traceparent: 00-%b-%b-%b\r\ntracestate: a=1, b=2\r\n" % (TRACE, SPAN, flags)
    assert lines[trace_context.TRACE_ID] == TRACE
    assert lines[trace_context.SPAN_ID] == SPAN
    assert trace_context.state_of(lines) == "a=1, b=2"
    assert trace_context.sampled(lines) == (flags in (b"01", b"03"))


def test_without_a_state_there_is_one_line() -> None:
    lines = trace_context.read({b"traceparent": VALID, b"tracestate": b""})
    assert lines == b"traceparent: %b\r\n" % VALID
    assert trace_context.state_of(lines) == ""


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"00-1-2-01",
        VALID + b"-more",
        VALID + b" ",
        VALID + b", " + VALID,
        VALID.upper(),
        b"ff" + VALID[2:],
        b"0" + VALID[2:],
        b"00-%b-%b-01" % (b"0" * 32, SPAN),
        b"00-%b-%b-01" % (TRACE, b"0" * 16),
        b"00-%b-%b-0x" % (TRACE, SPAN),
        b"cc-%b-%b-01.more" % (TRACE, SPAN),
    ],
)
def test_one_that_is_not_valid_is_none_and_takes_its_state_with_it(given: bytes) -> None:
    assert trace_context.read({b"traceparent": given, b"tracestate": b"a=1"}) == b""
    assert trace_context.read({b"tracestate": b"a=1"}) == b""


def test_a_later_version_goes_on_as_the_version_that_is_known() -> None:
    given = b"cc-%b-%b-ff-what=ever" % (TRACE, SPAN)
    assert trace_context.read({b"traceparent": given}) == b"traceparent: 00-%b-%b-03\r\n" % (TRACE, SPAN)


@pytest.mark.parametrize("connection", [b"traceparent", b"keep-alive, TraceParent"])
def test_a_context_that_the_client_names_in_connection_does_not_pass(connection: bytes) -> None:
    assert trace_context.read({b"traceparent": VALID, b"connection": connection}) == b""


def test_a_state_that_the_client_names_in_connection_does_not_pass() -> None:
    given = {b"traceparent": VALID, b"tracestate": b"a=1", b"connection": b"tracestate"}
    assert trace_context.read(given) == b"traceparent: %b\r\n" % VALID


def test_another_parent_keeps_the_trace_its_state_and_that_its_id_is_random() -> None:
    lines = trace_context.read({b"traceparent": b"00-%b-%b-02" % (TRACE, SPAN), b"tracestate": b"a=1"})
    assert trace_context.with_parent(lines, "b7ad6b7169203331", record=True) == (
        b"traceparent: 00-%b-b7ad6b7169203331-03\r\ntracestate: a=1\r\n" % TRACE
    )
    assert trace_context.with_parent(lines, "b7ad6b7169203331", record=False) == (
        b"traceparent: 00-%b-b7ad6b7169203331-02\r\ntracestate: a=1\r\n" % TRACE
    )


def test_new_traces_are_valid_different_and_not_recorded() -> None:
    new = list(islice(trace_context.new_traces(), 1000))
    assert len({lines[trace_context.TRACE_ID] for lines in new}) == 1000
    for lines in new:
        assert trace_context.read({b"traceparent": lines.removeprefix(b"traceparent: ").rstrip()}) == lines
        assert not trace_context.sampled(lines)


def test_opentelemetry_reads_a_new_trace() -> None:
    name, value = next(trace_context.new_traces()).decode().strip().split(": ")
    context = TraceContextTextMapPropagator().extract({name: value})
    read = trace.get_current_span(context).get_span_context()
    assert f"{read.trace_id:032x}" == value[3:35]
    assert read.is_remote
    assert not read.trace_flags.sampled
