"""The spans of one request: its own, its waits in a queue, its attempts, and the two parts of a streamed response."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from gateway.core.context import RequestHead
from gateway.core.recording import AttemptRecord, Recording, new_span_id
from gateway.observe.tracing import conventions
from gateway.observe.tracing.span import Span, SpanKind, Value

_INTERNAL_CLIENT = "internal"
"""The client of a request that the gateway makes itself."""


class EndedRequest(NamedTuple):
    """What the spans of a request are made of, once it is over. Moments are ``perf_counter`` readings in seconds."""

    recording: Recording
    head: RequestHead
    request_id: str
    model: str
    status: int
    error_code: str | None
    """The code of the error that the client got; ``None`` without one."""
    streamed: bool
    received_at: float
    first_token_at: float | None
    ended_at: float
    input_tokens: int
    output_tokens: int
    cached_tokens: int

    @property
    def number_of_spans(self) -> int:
        """How many spans ``spans_of`` makes of it."""
        attempts = self.recording.attempts
        return 1 + len(self.recording.waits) + len(attempts) + 2 * sum(map(_is_in_parts, attempts))


def spans_of(request: EndedRequest, epoch: float) -> Iterator[Span]:
    """Make the spans of a request, its own first. ``epoch`` is the Unix time, in seconds, of the clock's zero."""
    recording, moments = request.recording, _Moments(epoch)
    yield Span(
        recording.trace_id,
        recording.span_id,
        recording.parent_id,
        recording.state,
        f"{request.head.method.decode('latin-1')} {request.head.endpoint}",
        SpanKind.INTERNAL if request.head.client == _INTERNAL_CLIENT else SpanKind.SERVER,
        moments.nanoseconds(request.received_at),
        moments.nanoseconds(request.ended_at),
        _of_request(request),
        # By the conventions for HTTP servers, a client's own mistake is no error of the server.
        error=(request.error_code or "") if request.status >= 500 else None,
        remote_parent=bool(recording.parent_id),
    )
    for began, ended in recording.waits:
        yield _child(recording, moments, recording.span_id, conventions.QUEUE, began, ended)
    answered = _answered(recording)
    for attempt in recording.attempts:
        yield _of_attempt(request, attempt, moments, answered=attempt is answered)
        if _is_in_parts(attempt):
            at, first, ended = attempt.span_id, attempt.first_byte_at, attempt.ended_at
            yield _child(recording, moments, at, conventions.FIRST_BYTE, attempt.sent_at, first)
            yield _child(recording, moments, at, conventions.STREAM, first, ended)


class _Moments:
    """Turns readings of the clock into Unix times."""

    def __init__(self, epoch: float) -> None:
        self._epoch = int(epoch * 1e9)

    def nanoseconds(self, moment: float) -> int:
        return self._epoch + int(moment * 1e9)


def _child(recording: Recording, moments: _Moments, parent_id: str, name: str, began: float, ended: float) -> Span:
    return Span(
        recording.trace_id,
        new_span_id(),
        parent_id,
        recording.state,
        name,
        SpanKind.INTERNAL,
        moments.nanoseconds(began),
        moments.nanoseconds(ended),
        {},
    )


def _of_attempt(request: EndedRequest, attempt: AttemptRecord, moments: _Moments, *, answered: bool) -> Span:
    """Make the span of one attempt, which is a client's call of generative AI where the endpoint is for that."""
    recording, endpoint = request.recording, request.head.endpoint
    operation = conventions.OPERATIONS.get(endpoint)
    attributes: dict[str, Value] = {
        conventions.REPLICA: attempt.replica,
        conventions.OUTCOME: attempt.outcome,
        conventions.SERVER_ADDRESS: attempt.host,
    }
    if attempt.port:
        attributes[conventions.SERVER_PORT] = attempt.port
    if attempt.status:
        attributes[conventions.HTTP_STATUS] = attempt.status
    attributes[conventions.GEN_AI_MODEL] = attempt.model
    if operation is not None:
        attributes[conventions.GEN_AI_OPERATION] = operation
        attributes[conventions.GEN_AI_PROVIDER] = conventions.provider_of(endpoint)
    if answered:
        attributes.update(_usage(request))
        if request.first_token_at is not None:
            attributes[conventions.GEN_AI_FIRST_CHUNK] = request.first_token_at - attempt.sent_at
    error = str(attempt.status) if attempt.status >= 400 else None if attempt.outcome == "ok" else attempt.outcome
    if error is not None:
        attributes[conventions.ERROR_TYPE] = error
    return Span(
        recording.trace_id,
        attempt.span_id,
        recording.span_id,
        recording.state,
        f"{operation} {attempt.model}" if operation is not None else f"POST {endpoint}",
        SpanKind.CLIENT,
        moments.nanoseconds(attempt.began_at),
        moments.nanoseconds(attempt.ended_at),
        attributes,
        error=None if error is None else attempt.reason,
    )


def _of_request(request: EndedRequest) -> Mapping[str, Value]:
    head = request.head
    attributes: dict[str, Value] = {
        conventions.HTTP_METHOD: head.method.decode("latin-1"),
        conventions.HTTP_ROUTE: head.endpoint,
        conventions.HTTP_STATUS: request.status,
        conventions.CLIENT_ADDRESS: head.client,
        conventions.REQUEST_ID: request.request_id,
        conventions.GEN_AI_MODEL: request.model,
        conventions.STREAMED: request.streamed,
    }
    if head.key.id:
        attributes[conventions.KEY_ID] = head.key.id
    if request.status >= 400:
        attributes[conventions.ERROR_TYPE] = request.error_code or str(request.status)
    return attributes


def _usage(request: EndedRequest) -> Iterator[tuple[str, Value]]:
    """Give what the engine has counted of a request's tokens, if it has."""
    if request.input_tokens or request.output_tokens:
        yield conventions.GEN_AI_INPUT_TOKENS, request.input_tokens
        yield conventions.GEN_AI_OUTPUT_TOKENS, request.output_tokens
        if request.cached_tokens:
            yield conventions.GEN_AI_CACHED_TOKENS, request.cached_tokens


def _answered(recording: Recording) -> AttemptRecord | None:
    """Give the attempt whose response the client got last, which is the one that usage belongs to."""
    answers = [attempt for attempt in recording.attempts if attempt.outcome == "ok"]
    return answers[-1] if answers else None


def _is_in_parts(attempt: AttemptRecord) -> bool:
    return attempt.streamed and attempt.first_byte_at > 0.0
