"""Decides which requests are recorded, and hands on what was noted of them when they are over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import getrandbits

from gateway.core.context import RequestContext
from gateway.core.recording import Recording, new_span_id
from gateway.http import trace_context
from gateway.http.trace_context import SPAN_ID, TRACE_ID
from gateway.observe.tracing.request_spans import EndedRequest

_HALF = 64
"""Bits of a trace's id that decide: those on the right, as in OpenTelemetry's ``TraceIdRatioBased``."""


class Tracer:
    """Samples requests by the ids of their traces, so that services with the same ratio decide alike.

    With ``parent_based``, a client that sent a trace context has decided. ``ended`` takes what was noted of a request.
    """

    def __init__(self, ratio: float, ended: Callable[[EndedRequest], None], *, parent_based: bool) -> None:
        self._bound = round(ratio * 2**_HALF)
        self._parent_based = parent_based
        self._ended = ended
        self._new_traces: Iterator[bytes] = trace_context.new_traces()

    def __repr__(self) -> str:
        return f"<Tracer [{self._bound / 2**_HALF:.2%} of requests]>"

    def begin(self, context: RequestContext) -> None:
        """Give a request its trace context, and begin to record it if it is sampled."""
        given = context.head.trace
        if given:
            self._go_on(context, given)
            return
        right = getrandbits(_HALF)
        if right >= self._bound:
            context.trace = next(self._new_traces)
            return
        span_id = new_span_id()
        trace_id = f"{getrandbits(_HALF):016x}{right:016x}"
        context.trace = b"traceparent: 00-%b-%b-01\r\n" % (trace_id.encode("ascii"), span_id.encode("ascii"))
        context.recording = Recording(trace_id, span_id, parent_id="", state="")

    def end(self, context: RequestContext, now: float) -> None:
        """Hand on what was noted of a request, if it was; ``now`` is a ``perf_counter`` reading."""
        if not context.trace:
            # It was refused for its head alone.
            self.begin(context)
        recording = context.recording
        if recording is None:
            return
        error = context.error
        self._ended(
            EndedRequest(
                recording,
                context.head,
                context.request_id,
                context.model,
                context.status,
                None if error is None else error.code,
                context.streamed,
                context.received_at,
                context.first_token_at,
                now,
                context.input_tokens,
                context.output_tokens,
                context.cached_tokens,
            )
        )

    def _go_on(self, context: RequestContext, given: bytes) -> None:
        """Go on with the trace of a client."""
        asked = trace_context.sampled(given)
        record = asked if self._parent_based else int(given[TRACE_ID][16:], 16) < self._bound
        if not record and not asked:
            context.trace = given
            return
        # Where the client's decision does not hold, a span must stand for that (section 3.4 of the recommendation).
        span_id = new_span_id()
        context.trace = trace_context.with_parent(given, span_id, record=record)
        if record:
            trace_id, parent_id = given[TRACE_ID].decode("ascii"), given[SPAN_ID].decode("ascii")
            context.recording = Recording(trace_id, span_id, parent_id, trace_context.state_of(given))
