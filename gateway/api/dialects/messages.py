"""Anthropic's messages: named events, errors in Anthropic's shape, ``message_stop`` as the end."""

from __future__ import annotations

import msgspec

from gateway.api.dialects import usage
from gateway.api.dialects.named_event import kinds_of
from gateway.api.dialects.stream_reader import MeteredStream, earliest
from gateway.core.context import RequestContext
from gateway.core.engine_error import OVERLOADED, from_event
from gateway.core.errors import GatewayError


class _Delta(msgspec.Struct):
    stop_reason: str | None = None


class _MessageDelta(msgspec.Struct):
    """The last event but one, which says why the message ends."""

    delta: _Delta | None = None


_MESSAGE_DELTA = msgspec.json.Decoder(_MessageDelta)


class MessagesStream(MeteredStream):
    """Reads the events of one message."""

    __slots__ = ("_stopped",)

    _texts = (b'"text":"', b'"thinking":"')

    def __init__(self, context: RequestContext) -> None:
        super().__init__(context)
        self._stopped = False

    def error(self, error: GatewayError) -> bytes:
        """Write the event that Anthropic's SDK raises."""
        return b"event: error\ndata: %b\n\n" % error.anthropic_body()

    def _missing_end(self) -> bytes | None:
        """Give the end marker if the message has its ``stop_reason``, behind which no content comes; else ``None``."""
        return b'event: message_stop\ndata: {"type":"message_stop"}\n\n' if self._stopped else None

    def _fact_at(self, events: bytes) -> int:
        # The last word is the end of an ``event`` line.
        return earliest(events, b"message_", b'"error"', b"error\n")

    def _read(self, event: bytes, data: bytes) -> bytes:
        kinds = kinds_of(event, data)
        if "error" in kinds:
            return self._fail(from_event(data, overloaded=OVERLOADED))
        if "message_stop" in kinds:
            self.complete = True
        elif "content_block_delta" in kinds:
            self._saw_content()
        elif "message_start" in kinds or "message_delta" in kinds:
            is_delta = "message_delta" in kinds
            self._stopped = self._stopped or (is_delta and _has_stop_reason(data))
            if b'"usage":' in data and usage.meter_event(self._context, data):
                self._metered = is_delta
        return event


class Messages(usage.ResponseMeter):
    """The dialect of Anthropic's messages."""

    asks_usage = False
    recorded = None
    anthropic_headers = True
    idempotent = True

    def stream(self, context: RequestContext, *, strip_usage: bool) -> MessagesStream:  # noqa: ARG002 - never asked
        """Begin to read a stream; usage is a part of every one."""
        return MessagesStream(context)

    def error_body(self, error: GatewayError) -> bytes:
        """Give the body of an error response."""
        return error.anthropic_body()


def _has_stop_reason(data: bytes) -> bool:
    try:
        delta = _MESSAGE_DELTA.decode(data).delta
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return delta is not None and bool(delta.stop_reason)
