"""Anthropic's streams: named events, their usage, their errors, their end."""

from __future__ import annotations

import json

import pytest

from gateway.api.dialects.messages import Messages, MessagesStream
from gateway.core.context import RequestContext, RequestHead
from gateway.core.errors import UpstreamFailed

START = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","content":[],'
    b'"usage":{"input_tokens":11,"output_tokens":0}}}\n\n'
)
BLOCK = b'event: content_block_start\ndata: {"type":"content_block_start","index":0}\n\n'
DELTA = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"type":"text_delta","text":"Hi"}}\n\n'
)
END = (
    b'event: message_delta\ndata: {"type":"message_delta","delta":{},"usage":{"input_tokens":11,"output_tokens":4}}\n\n'
)
STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


def has_begun(context: RequestContext) -> bool:
    return context.first_token_at is not None


def begin() -> tuple[RequestContext, MessagesStream]:
    context = RequestContext(RequestHead("-"))
    return context, Messages().stream(context, strip_usage=True)


def test_a_message_passes_byte_for_byte_and_is_metered() -> None:
    context, stream = begin()
    assert stream.feed(START + BLOCK) == START + BLOCK
    assert not has_begun(context)
    assert stream.feed(DELTA) + stream.feed(DELTA + END) + stream.feed(STOP) == DELTA + DELTA + END + STOP
    assert has_begun(context)
    assert stream.complete
    stream.settle()
    assert (context.input_tokens, context.output_tokens) == (11, 4)


@pytest.mark.parametrize("reads_each", [False, True])
def test_usage_is_taken_only_from_the_events_that_have_it(reads_each: bool) -> None:
    context, stream = begin()
    if reads_each:
        stream.read_each_event()
    foreign = b'data: {"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":7}}\n\n'
    assert stream.feed(START + DELTA) + stream.feed(foreign) == START + DELTA + foreign
    assert context.input_tokens == 11


def test_a_message_that_was_cut_counts_what_was_sent() -> None:
    context, stream = begin()
    stream.feed(START + BLOCK + DELTA)
    stream.feed(DELTA)
    stream.settle()
    assert not stream.complete
    assert (context.input_tokens, context.output_tokens) == (11, 2)


def test_an_error_event_is_given_in_anthropics_shape() -> None:
    _, stream = begin()
    passed = stream.feed(b'event: error\ndata: {"type":"error","error":{"type":"internal_error","message":"boom"}}\n\n')
    assert passed.startswith(b"event: error\ndata: ")
    error = json.loads(passed.split(b"data: ")[1])
    assert error["type"] == "error"
    assert error["error"]["type"] == "api_error"
    assert error["error"]["message"] == "boom"
    assert stream.failure is not None


def test_the_engines_own_type_of_error_survives_and_overload_has_anthropics_status() -> None:
    _, stream = begin()
    passed = stream.feed(
        START + b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"m"}}\n\n'
    )
    assert json.loads(passed.rpartition(b"data: ")[2])["error"]["type"] == "overloaded_error"
    assert stream.failure is not None
    assert stream.failure.status == 529


@pytest.mark.parametrize(
    "error",
    [
        b'data: {"type":"error","error":{"type":"api_error","message":"boom"}}\n\n',
        b'event:error\ndata: {"type": "error", "error": {"message": "boom"}}\n\n',
        b'event: error\ndata: {"type":"overloaded_error","message":"boom"}\n\n',
        b'data: {"error":{"message":"boom"}}\n\n',
    ],
)
@pytest.mark.parametrize("before", [b"", START, START + DELTA])
def test_an_error_is_one_with_or_without_its_name(before: bytes, error: bytes) -> None:
    _, stream = begin()
    stream.feed(before)
    assert b"boom" in stream.feed(error)
    assert stream.complete
    assert stream.failure is not None


def unnamed(event: bytes) -> bytes:
    return event[event.index(b"data:") :]


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("together", [True, False])
def test_a_message_ends_whether_or_not_its_events_have_names(named: bool, together: bool) -> None:
    events = [event if named else unnamed(event) for event in (START, BLOCK, DELTA, DELTA, END, STOP)]
    context, stream = begin()
    passed = b"".join(map(stream.feed, [b"".join(events)] if together else events))
    assert passed == b"".join(events)
    assert stream.complete
    assert has_begun(context)
    assert (context.input_tokens, context.output_tokens) == (11, 4)


def test_a_ping_passes() -> None:
    ping = b'event: ping\ndata: {"type":"ping"}\n\n'
    _, stream = begin()
    assert stream.feed(START + ping + DELTA) + stream.feed(ping + DELTA) == START + ping + DELTA + ping + DELTA


def test_with_a_stop_reason_a_missing_end_marker_is_added() -> None:
    _, stream = begin()
    stream.feed(START + BLOCK + DELTA)
    stream.feed(END)
    assert stream.end(b"") is None
    stream.feed(END.replace(b'"delta":{}', b'"delta":{"stop_reason":"end_turn"}'))
    assert stream.end(b"") == STOP
    assert stream.complete


def test_the_end_marker_needs_no_blank_line() -> None:
    _, stream = begin()
    stream.feed(START + DELTA)
    assert stream.end(STOP) == STOP
    assert stream.complete


def test_our_own_errors_have_anthropics_shape() -> None:
    _, stream = begin()
    assert stream.error(UpstreamFailed("gone")).startswith(
        b'event: error\ndata: {"type":"error","error":{"message":"gone","type":"api_error"'
    )
    assert json.loads(Messages().error_body(UpstreamFailed("gone")))["type"] == "error"


def test_a_whole_message_is_metered() -> None:
    context = RequestContext(RequestHead("-"))
    Messages().meter(context, b'{"usage":{"input_tokens":1,"output_tokens":2}}')
    assert (context.input_tokens, context.output_tokens) == (1, 2)
