"""OpenAI's chat completions and completions, and every endpoint whose responses look like theirs."""

from __future__ import annotations

from typing import ClassVar

from gateway.api.dialects import usage
from gateway.api.dialects.completions_stream import CompletionsStream
from gateway.api.dialects.recorded_stream import RecordedStream
from gateway.core.context import RequestContext
from gateway.core.errors import GatewayError
from gateway.exchange import ports


class Completions(usage.ResponseMeter):
    """The dialect of OpenAI's completions."""

    asks_usage = True
    anthropic_headers = False
    idempotent = True
    recorded: ClassVar[ports.StreamFactory | None] = RecordedStream

    def stream(self, context: RequestContext, *, strip_usage: bool) -> CompletionsStream:
        """Begin to read a stream."""
        return CompletionsStream(context, strip_usage=strip_usage)

    def error_body(self, error: GatewayError) -> bytes:
        """Give the body of an error response."""
        return error.body()


class Plain(Completions):
    """The dialect of every other endpoint of OpenAI's and vLLM's: the same shapes, without ``stream_options``."""

    asks_usage = False
    recorded = None
