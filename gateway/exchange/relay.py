"""What a client has been given of a response that reaches it in pieces, and how that can still end.

Most responses are whole when they come, and need no relay: streams of events do, and bodies too large to be held.
"""

from __future__ import annotations

from enum import Enum, auto
from time import perf_counter

from gateway.core.context import RequestContext
from gateway.core.errors import GatewayError
from gateway.exchange.ports import Stream
from gateway.http import sse
from gateway.http.downstream import Downstream
from gateway.http.response_head import ResponseHead

_SSE_HEADERS = b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n"


class RelayState(Enum):
    """What the client has."""

    BODY = auto()
    """The beginning of a body that is no stream of events."""
    STREAM = auto()
    """The beginning of a stream of events."""
    COMPLETE = auto()
    """All of it, or the events that say why there is no more."""
    CUT = auto()
    """A broken connection, because half a body cannot be mended."""


class BodyRelay:
    """Hands on the pieces of a body that is too large to be held."""

    __slots__ = ("_chunked", "_client", "_context", "state")

    def __init__(self, client: Downstream, context: RequestContext, head: ResponseHead, first: bytes) -> None:
        self._client = client
        self._context = context
        self._chunked = head.length is None
        self.state = RelayState.BODY
        client.begin_stream(context, head.status, head.down, head.length)
        self.write(first)

    def __repr__(self) -> str:
        return f"<BodyRelay [{self.state.name.lower()}]>"

    def write(self, data: bytes) -> None:
        """Hand on a piece."""
        assert self.state is RelayState.BODY
        if self._chunked:
            self._client.write_chunk(self._context, data)
        else:
            self._client.write_raw(data)

    def complete(self) -> None:
        """End the body."""
        assert self.state is RelayState.BODY
        self.state = RelayState.COMPLETE
        if self._chunked:
            self._client.end_stream(self._context)

    def fail(self, error: GatewayError) -> None:
        """Cut the connection: that the body is not whole must be seen."""
        assert self.state is RelayState.BODY
        self.state = RelayState.CUT
        self._context.keep_alive = False
        self._context.status = error.status
        self._client.cut()


class StreamRelay:
    """Hands on the events of a stream, as far as its dialect's reader lets them through.

    It lives as long as the client's stream does, whichever replicas the events come from.
    """

    __slots__ = ("_client", "_context", "_seen", "_wrote", "_wrote_at", "state", "stream")

    def __init__(
        self, client: Downstream, context: RequestContext, stream: Stream, headers: bytes, first: bytes
    ) -> None:
        self._client = client
        self._context = context
        self.stream = stream
        self.state = RelayState.STREAM
        # The tick turns these into moments, so that an event need not look at the clock.
        self._seen = 0
        self._wrote = True
        self._wrote_at = perf_counter()
        context.streamed = True
        client.begin_stream(context, 200, _SSE_HEADERS + headers, first=first)

    def __repr__(self) -> str:
        return f"<StreamRelay [{self.state.name.lower()}; {self.stream.events} events]>"

    @property
    def write_raw(self) -> object:
        """The function that writes whole chunks to the client."""
        return self._client.write_raw

    def write(self, events: bytes) -> None:
        """Hand on events."""
        assert self.state is RelayState.STREAM
        self._wrote = True
        self._client.write_chunk(self._context, events)

    def complete(self, last: bytes) -> None:
        """End the stream as soon as its end marker has passed: many clients close at once when they see it."""
        assert self.state is RelayState.STREAM
        self.state = RelayState.COMPLETE
        context, failure = self._context, self.stream.failure
        self.stream.settle()
        self._client.end_stream(context, last)
        if failure is not None:
            context.error = failure
            context.status = failure.status

    def fail(self, error: GatewayError) -> None:
        """End the stream with the events that say why. Its body ends properly, so the connection lives on."""
        assert self.state is RelayState.STREAM
        self.state = RelayState.COMPLETE
        self._client.end_stream(self._context, self.stream.error(error))
        self._context.status = error.status

    def heard(self) -> bool:
        """Tell whether events have passed since this was asked last."""
        seen = self.stream.events
        passed, self._seen = seen != self._seen, seen
        self._wrote = self._wrote or passed
        return passed

    def break_silence(self, now: float, interval: float) -> None:
        """Send a comment if the client has got nothing for ``interval`` seconds."""
        if self._wrote:
            self._wrote = False
            self._wrote_at = now
        elif now - self._wrote_at >= interval and self.state is RelayState.STREAM:
            self._wrote_at = now
            self._client.write_chunk(self._context, sse.KEEP_ALIVE)
