"""OpenAI's responses: named and numbered events; ``response.completed``, ``.incomplete`` or ``.failed`` is the end."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from gateway.api.dialects import usage
from gateway.api.dialects.named_event import kinds_of
from gateway.api.dialects.stream_reader import NULL, MeteredStream, earliest
from gateway.core.context import RequestContext
from gateway.core.engine_error import from_event
from gateway.core.errors import GatewayError, UpstreamFailed

_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})


class _Failed(msgspec.Struct):
    error: Raw = NULL


class _ResponseFailed(msgspec.Struct):
    """The event ``response.failed``, which says in its response why."""

    response: _Failed


_RESPONSE_FAILED = msgspec.json.Decoder(_ResponseFailed)


class ResponsesStream(MeteredStream):
    """Reads the events of one response."""

    __slots__ = ()

    _texts = (b'"delta":"',)

    def error(self, error: GatewayError) -> bytes:
        """Write OpenAI's error event with the next number; ``error`` repeats it in the shape that the SDK raises.

        The client is told of one error only: where the engine itself has reported one, nothing is left to be said.
        """
        if self.failure is not None:
            return b""
        whole = {
            "type": "error",
            "code": error.code,
            "message": error.message,
            "param": error.param,
            "sequence_number": self.events,
            "error": error.fields(),
        }
        return b"event: error\ndata: %b\n\n" % msgspec.json.encode(whole)

    def _fact_at(self, events: bytes) -> int:
        # The last word is the end of an ``event`` line.
        return earliest(
            events, b"response.completed", b"response.incomplete", b"response.failed", b'"error"', b"error\n"
        )

    def _read(self, event: bytes, data: bytes) -> bytes:
        kinds = kinds_of(event, data)
        if not kinds.isdisjoint(_ENDS):
            self._metered = usage.meter_event(self._context, data)
            self.complete = True
            if "response.failed" in kinds and self.failure is None:
                self.failure = _failure(data)
        elif "error" in kinds:
            if self.failure is not None:
                return b""
            said = self._fail(from_event(data))
            # The response itself, as it failed, follows.
            self.complete = False
            return said
        elif any(kind.endswith(".delta") for kind in kinds):
            self._saw_content()
        return event


class Responses(usage.ResponseMeter):
    """The dialect of OpenAI's responses."""

    asks_usage = False
    recorded = None
    anthropic_headers = False
    idempotent = False
    """An engine may keep a response, for a later request to go on from."""

    def stream(self, context: RequestContext, *, strip_usage: bool) -> ResponsesStream:  # noqa: ARG002 - never asked
        """Begin to read a stream; usage is a part of its last event."""
        return ResponsesStream(context)

    def error_body(self, error: GatewayError) -> bytes:
        """Give the body of an error response."""
        return error.body()


def _failure(data: bytes) -> GatewayError:
    """Read the reason out of a failed response."""
    try:
        error = bytes(_RESPONSE_FAILED.decode(data).response.error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        error = b"null"
    if error == b"null":
        return UpstreamFailed("The engine reported that the response failed.")
    return from_event(error)
