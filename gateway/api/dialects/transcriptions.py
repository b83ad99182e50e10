"""Transcriptions: OpenAI's events end with ``transcript.text.done``; vLLM's look like the chunks of a chat."""

from __future__ import annotations

from gateway.api.dialects import usage
from gateway.api.dialects.completions import Plain
from gateway.api.dialects.completions_stream import CompletionsStream
from gateway.api.dialects.named_event import kinds_of
from gateway.core.context import RequestContext

_DONE = b"transcript.text.done"


class TranscriptionStream(CompletionsStream):
    """Reads the events of one transcription."""

    __slots__ = ()

    _texts = (b'"delta":"', b'"content":"')

    def _fact_at(self, events: bytes) -> int:
        fact_at, done_at = super()._fact_at(events), events.find(_DONE)
        return fact_at if done_at < 0 or 0 <= fact_at < done_at else done_at

    def _read(self, event: bytes, data: bytes) -> bytes:
        kinds = kinds_of(event, data)
        if "transcript.text.done" in kinds:
            self._metered = usage.meter_event(self._context, data)
            self.complete = True
            return event
        if "transcript.text.delta" in kinds:
            self._saw_content()
            return event
        return super()._read(event, data)


class Transcriptions(Plain):
    """The dialect of transcriptions and translations."""

    def stream(self, context: RequestContext, *, strip_usage: bool) -> TranscriptionStream:
        """Begin to read a stream."""
        return TranscriptionStream(context, strip_usage=strip_usage)
