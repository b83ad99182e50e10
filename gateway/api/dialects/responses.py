"""OpenAI's responses: named and numbered events; ``response.completed`` or ``response.incomplete`` is the end."""

from __future__ import annotations

import msgspec

from gateway.api.dialects import usage
from gateway.api.dialects.completions import status_of
from gateway.api.dialects.messages import name_of
from gateway.api.dialects.stream_reader import MeteredStream, earliest
from gateway.core.context import RequestContext
from gateway.core.errors import GatewayError, UpstreamFailed, from_engine

_ENDS = frozenset({b"response.completed", b"response.incomplete", b"response.failed"})


class ResponsesStream(MeteredStream):
    """Reads the events of one response."""

    __slots__ = ()

    _texts = (b'"delta":"',)

    def error(self, error: GatewayError) -> bytes:
        """Write OpenAI's error event with the next number; ``error`` repeats it in the shape that the SDK raises."""
        whole = {
            "type": "error",
            "code": error.code,
            "message": error.message,
            "param": error.param,
            "sequence_number": self.events,
            "error": {"message": error.message, "type": error.kind, "param": error.param, "code": error.code},
        }
        return b"event: error\ndata: %b\n\n" % msgspec.json.encode(whole)

    def _fact_at(self, events: bytes) -> int:
        return earliest(
            events,
            b"event: response.completed",
            b"event: response.incomplete",
            b"event: response.failed",
            b"event: error",
        )

    def _read(self, event: bytes, data: bytes) -> bytes:
        name = name_of(event)
        if name == b"error":
            return self._fail(from_engine(status_of(data), data))
        if name.endswith(b".delta"):
            self._saw_content()
        elif name in _ENDS:
            self._metered = usage.meter_event(self._context, data)
            self.complete = True
            if name == b"response.failed":
                self.failure = UpstreamFailed("The engine reported that the response failed.")
        return event


class Responses(usage.AnswerMeter):
    """The dialect of OpenAI's responses."""

    asks_usage = False
    names_request = False

    def stream(self, context: RequestContext, *, strip_usage: bool) -> ResponsesStream:  # noqa: ARG002 - never asked
        """Begin to read a stream; usage is a part of its last event."""
        return ResponsesStream(context)

    def error_body(self, error: GatewayError) -> bytes:
        """Give the body of an error response."""
        return error.body()
