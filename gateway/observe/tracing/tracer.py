"""Decides which requests are recorded, and hands on what was noted of them when they are over."""

from __future__ import annotations

from collections.abc import Callable

from gateway.core.context import RequestContext
from gateway.core.recording import Recording, new_span_id
from gateway.http import trace_context
from gateway.http.trace_context import SAMPLED_BY, SPAN_ID, TRACE_ID
from gateway.observe.tracing.request_spans import EndedRequest

_ALL = b"g"
"""Behind all hexadecimal digits."""


class Tracer:
    """Samples requests by the ids of their traces, so that services with the same ratio decide alike.

    With ``parent_based``, a client that sent a trace context has decided. ``ended`` takes what was noted of a request.
    """

    def __init__(self, ratio: float, ended: Callable[[EndedRequest], None], *, parent_based: bool) -> None:
        # Hexadecimal digits have the order of the numbers that they write, so no request needs to have them read.
        self.bound = b"%016x" % round(ratio * 2**64) if ratio < 1 else _ALL
        """A trace is sampled if the half of its id at ``SAMPLED_BY`` is before this."""
        self._ratio = ratio
        self._parent_based = parent_based
        self._ended = ended
        self._new_traces = trace_context.new_traces()

    def __repr__(self) -> str:
        return f"<Tracer [{self._ratio:.2%} of requests]>"

    def begin(self, context: RequestContext) -> None:
        """Begin to record a request whose trace was sampled or is the client's, unless the client does not want it."""
        given = context.head.trace
        asked = bool(given) and trace_context.sampled(given)
        record = asked if given and self._parent_based else context.trace[SAMPLED_BY] < self.bound
        if not record and not asked:
            return
        # Where the client's decision does not hold, another span stands for that (section 3.4 of the recommendation).
        span_id = new_span_id()
        context.trace = trace_context.with_parent(context.trace, span_id, record=record)
        if record:
            trace_id = context.trace[TRACE_ID].decode("ascii")
            parent_id = given[SPAN_ID].decode("ascii")
            context.recording = Recording(trace_id, span_id, parent_id, trace_context.state_of(given))

    def end(self, context: RequestContext, now: float) -> None:
        """Hand on what was noted of a request, if it was; ``now`` is a ``perf_counter`` reading."""
        if not context.trace:
            # It was refused for its head alone, before it could begin.
            context.trace = context.head.trace or next(self._new_traces)
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
