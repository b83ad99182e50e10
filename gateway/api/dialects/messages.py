"""Anthropic's messages: named events, errors in Anthropic's shape, ``message_stop`` as the end."""

from __future__ import annotations

from gateway.api.dialects import usage
from gateway.api.dialects.completions import status_of
from gateway.api.dialects.stream_reader import MeteredStream, earliest
from gateway.core.context import RequestContext
from gateway.core.errors import GatewayError, from_engine


class MessagesStream(MeteredStream):
    """Reads the events of one message."""

    __slots__ = ()

    _texts = (b'"text":"', b'"thinking":"')

    def error(self, error: GatewayError) -> bytes:
        """Write the event that Anthropic's SDK raises."""
        return b"event: error\ndata: %b\n\n" % error.anthropic_body()

    def _fact_at(self, events: bytes) -> int:
        return earliest(events, b"event: message_", b"event: error", b'"usage":')

    def _read(self, event: bytes, data: bytes) -> bytes:
        name = name_of(event)
        if name == b"error":
            return self._fail(from_engine(status_of(data), data))
        if name == b"message_stop":
            self.complete = True
        elif name == b"content_block_delta":
            self._saw_content()
        elif b'"usage":' in data and usage.meter_event(self._context, data):
            self._metered = name == b"message_delta"
        return event


class Messages(usage.AnswerMeter):
    """The dialect of Anthropic's messages."""

    asks_usage = False
    names_request = True

    def stream(self, context: RequestContext, *, strip_usage: bool) -> MessagesStream:  # noqa: ARG002 - never asked
        """Begin to read a stream; usage is a part of every one."""
        return MessagesStream(context)

    def error_body(self, error: GatewayError) -> bytes:
        """Give the body of an error response."""
        return error.anthropic_body()


def name_of(event: bytes) -> bytes:
    """Return what the ``event`` line says, ``b""`` if there is none."""
    for line in event.splitlines():
        if line.startswith(b"event:"):
            return line[6:].strip()
    return b""
