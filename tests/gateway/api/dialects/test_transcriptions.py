"""Transcriptions end with their own last event, or as vLLM ends them: like a chat."""

from __future__ import annotations

import pytest

from gateway.api.dialects.transcriptions import Transcriptions, TranscriptionStream
from gateway.core.context import RequestContext, RequestHead

DELTA = b'data: {"type":"transcript.text.delta","delta":"hi"}\n\n'
LAST = (
    b'data: {"type":"transcript.text.done","text":"hi",'
    b'"usage":{"type":"tokens","input_tokens":14,"output_tokens":2,"total_tokens":16}}\n\n'
)
CHUNK = b'data: {"object":"transcription.chunk","choices":[{"delta":{"content":"hi"}}]}\n\n'
DONE = b"data: [DONE]\n\n"


def begin() -> tuple[RequestContext, TranscriptionStream]:
    context = RequestContext(RequestHead("-"))
    return context, Transcriptions().stream(context, strip_usage=False)


@pytest.mark.parametrize("name", [b"", b"event: transcript.text.done\n"])
def test_openais_last_event_ends_the_stream_and_is_metered(name: bytes) -> None:
    context, stream = begin()
    assert stream.feed(DELTA) + stream.feed(DELTA + DELTA) == DELTA * 3
    assert context.first_token_at is not None
    assert stream.feed(DELTA + name + LAST + DONE) == DELTA + name + LAST
    assert stream.complete
    assert (context.input_tokens, context.output_tokens) == (14, 2)


def test_its_events_pass_unread() -> None:
    _, stream = begin()
    stream.feed(DELTA)
    chunk = b"%x\r\n%b\r\n" % (len(DELTA), DELTA)
    assert stream.passes(chunk) == len(chunk)
    last = b"%x\r\n%b\r\n" % (len(LAST), LAST)
    assert stream.passes(last) == 0


def test_vllms_chunks_end_with_the_marker_of_a_chat() -> None:
    context, stream = begin()
    assert stream.feed(CHUNK) + stream.feed(CHUNK + DONE) == CHUNK + CHUNK + DONE
    assert context.first_token_at is not None
    assert stream.complete


def test_an_error_is_one_in_the_shape_of_a_chat() -> None:
    _, stream = begin()
    assert stream.feed(DELTA + b'data: {"error":{"message":"boom","code":500}}\n\n').endswith(DONE)
    assert stream.failure is not None


def test_without_its_last_event_a_transcription_is_not_complete() -> None:
    _, stream = begin()
    stream.feed(DELTA)
    assert stream.end(b"") is None
    assert stream.end(LAST) == LAST
