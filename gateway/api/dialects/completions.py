"""OpenAI's chat completions and completions, and every endpoint whose responses look like theirs.

Events are unnamed; a chunk with an empty ``choices`` carries the usage, and ``data: [DONE]`` is the end.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw
from msgspec.structs import astuple

from gateway.api.dialects import usage
from gateway.api.dialects.stream_reader import MeteredStream, earliest
from gateway.core.context import RequestContext
from gateway.core.errors import GatewayError, from_engine

_DONE = b"[DONE]"
_NULL = Raw(b"null")
_NOTHING = frozenset({b"null", b'""', b"[]", b"{}"})


class Delta(msgspec.Struct):
    """The parts of a delta that hold something to read; ``role`` alone is no content."""

    content: Raw = _NULL
    reasoning: Raw = _NULL
    reasoning_content: Raw = _NULL
    refusal: Raw = _NULL
    tool_calls: Raw = _NULL
    function_call: Raw = _NULL

    @property
    def empty(self) -> bool:
        """Whether there is nothing to read in it."""
        return _NOTHING.issuperset(map(bytes, astuple(self)))


class Choice(msgspec.Struct):
    """One choice of a chunk: chat has a ``delta``, a completion has ``text``."""

    delta: Delta | None = None
    text: str | None = None


class Chunk(msgspec.Struct):
    """What is read of one event."""

    choices: list[Choice] | None = None
    error: Raw = _NULL

    @property
    def has_content(self) -> bool:
        """Whether any choice brings something to read."""
        return any(
            choice.text or (choice.delta is not None and not choice.delta.empty) for choice in self.choices or ()
        )


class _ErrorCode(msgspec.Struct):
    code: int | str | None = None


_CHUNK = msgspec.json.Decoder(Chunk)
_ERROR_CODE = msgspec.json.Decoder(_ErrorCode)


class CompletionsStream(MeteredStream):
    """Reads the chunks of a completion, and leaves out the usage event where the client did not ask for it."""

    __slots__ = ("_strip_usage",)

    _texts = (b'"content":"', b'"text":"')

    def __init__(self, context: RequestContext, *, strip_usage: bool) -> None:
        super().__init__(context)
        self._strip_usage = strip_usage

    def error(self, error: GatewayError) -> bytes:
        """Write the error event that OpenAI's SDK raises, and the end marker that every client waits for."""
        return b"data: %b\n\ndata: [DONE]\n\n" % error.body()

    def _fact_at(self, events: bytes) -> int:
        if events.find(b'"usage":') < 0 and events.find(_DONE) < 0 and events.find(b'"error":') < 0:
            return -1
        # Some engines say in each event that its usage is null.
        if events.count(b'"usage":') == events.count(b'"usage":null'):
            return earliest(events, _DONE, b'"error":')
        return earliest(events, _DONE, b'"error":', b'"usage":')

    def _read(self, event: bytes, data: bytes) -> bytes:
        if data == _DONE:
            if self.failure is not None:
                return b""
            self.complete = True
            return event
        try:
            chunk = _CHUNK.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return event
        if not chunk.choices and bytes(chunk.error) not in _NOTHING:
            return self._fail(from_engine(status_of(bytes(chunk.error)), data))
        if chunk.has_content:
            self._saw_content()
        if b'"usage":' in data and usage.meter_event(self._context, data):
            self._metered = True
            if self._strip_usage and not chunk.choices:
                return b""
        return event


class Completions(usage.AnswerMeter):
    """The dialect of OpenAI's completions."""

    asks_usage = True
    names_request = False

    def stream(self, context: RequestContext, *, strip_usage: bool) -> CompletionsStream:
        """Begin to read a stream."""
        return CompletionsStream(context, strip_usage=strip_usage)

    def error_body(self, error: GatewayError) -> bytes:
        """Give the body of an error response."""
        return error.body()


class Plain(Completions):
    """The dialect of every other endpoint of OpenAI's and vLLM's: the same shapes, without ``stream_options``."""

    asks_usage = False


def status_of(error: bytes) -> int:
    """Find the HTTP status in an error event's object, where vLLM puts it into ``code``; 500 where there is none."""
    try:
        code = _ERROR_CODE.decode(error).code
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 500
    return code if isinstance(code, int) and 400 <= code <= 599 else 500
