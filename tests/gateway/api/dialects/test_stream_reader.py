"""What the readers of all dialects share: what is not looked at passes uncut, and an early end is still metered."""

from __future__ import annotations

import pytest
from openai._streaming import SSEDecoder

from gateway.api.dialects.completions_stream import CompletionsStream
from gateway.api.dialects.messages import MessagesStream
from gateway.api.dialects.responses import ResponsesStream
from gateway.core.context import RequestContext, RequestHead
from gateway.http import sse


def chunk(content: str) -> bytes:
    return b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % content.encode()


def test_events_with_content_pass_as_they_are() -> None:
    context = RequestContext(RequestHead("127.0.0.1"))
    stream = CompletionsStream(context, strip_usage=True)
    events = chunk("a") + b": a comment\n\n" + chunk("b") + chunk("c")
    assert stream.feed(chunk("first")) == chunk("first")
    assert stream.feed(events) == events
    stream.settle()
    assert context.output_tokens == 4


def test_what_passes_in_one_piece_is_counted_as_if_it_came_in_many() -> None:
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":9}}\n\n'
    nothing = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
    without_usage = b'data: {"choices":[{"index":0,"delta":{"content":"n"}}],"usage":null}\n\n'
    events = [
        nothing,
        chunk("a"),
        chunk("b"),
        b": a comment\n\n",
        without_usage,
        chunk("c"),
        usage,
        b"data: [DONE]\n\n",
    ]
    passed = []
    for pieces in (events, [b"".join(events)], [b"".join(events[:3]), b"".join(events[3:])]):
        context = RequestContext(RequestHead("127.0.0.1"))
        stream = CompletionsStream(context, strip_usage=True)
        passed.append(b"".join(map(stream.feed, pieces)))
        assert stream.complete
        assert (context.input_tokens, context.output_tokens) == (3, 9)
    assert passed == [b"".join(events).replace(usage, b"")] * 3


def framed(events: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(events), events)


def test_a_chunk_passes_unread_when_it_is_nothing_but_content() -> None:
    context = RequestContext(RequestHead("127.0.0.1"))
    stream = CompletionsStream(context, strip_usage=True)
    assert not stream.passes(framed(chunk("first")))
    stream.feed(chunk("first"))
    both = framed(chunk("a") + chunk("b"))
    assert stream.passes(both) == len(both)
    for text in ("c", "d", 'quotes \\"', "e"):
        assert stream.passes(framed(chunk(text)))
    for fact in (b"[DONE]", b'{"usage":{}}', b'{"error":{}}'):
        assert not stream.passes(framed(b"data: %b\n\n" % fact))
    for block in (b": a comment", b"retry: 3000", b"event: ping", b"data:", b"data: : keep-alive"):
        assert not stream.passes(framed(block + b"\n\n"))
        assert not stream.passes(framed(chunk("a") + block + b"\n\n"))
    assert not stream.passes(framed(b"id: 7\n" + chunk("a")))
    assert not stream.passes(framed(chunk("a"))[:-1])
    stream.settle()
    assert context.output_tokens == 7


def test_of_several_chunks_those_pass_unread_that_are_before_the_first_fact() -> None:
    context = RequestContext(RequestHead("127.0.0.1"))
    stream = CompletionsStream(context, strip_usage=True)
    stream.feed(chunk("first") + chunk("second"))
    contents = b"".join(framed(chunk(text)) for text in ("a", "b", "c"))
    assert stream.passes(contents) == len(contents)
    for rest in (framed(b"data: [DONE]\n\n"), framed(chunk("d"))[:-1], b"0\r\n\r\n"):
        assert stream.passes(contents + rest) == len(contents)
        assert stream.passes(rest) == 0
    stream.settle()
    assert context.output_tokens == 2 + 4 * 3


def test_the_first_token_is_the_first_event_with_content() -> None:
    context = RequestContext(RequestHead("127.0.0.1"))
    stream = CompletionsStream(context, strip_usage=True)
    stream.feed(b": keep-alive\n\n")
    stream.feed(b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n')
    assert context.first_token_at is None
    stream.feed(chunk("a"))
    assert context.first_token_at is not None


def test_a_usage_that_came_counts_more_than_the_events_that_were_seen() -> None:
    context = RequestContext(RequestHead("127.0.0.1"))
    stream = CompletionsStream(context, strip_usage=True)
    stream.feed(chunk("a") + chunk("b"))
    assert stream.feed(b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":9}}\n\n') == b""
    stream.settle()
    assert (context.input_tokens, context.output_tokens) == (3, 9)


def test_a_message_that_ends_too_early_is_metered_by_its_events() -> None:
    context = RequestContext(RequestHead("127.0.0.1"))
    stream = MessagesStream(context)
    stream.feed(b'event: message_start\ndata: {"message":{"usage":{"input_tokens":3,"output_tokens":0}}}\n\n')
    for _ in range(5):
        stream.feed(b'event: content_block_delta\ndata: {"delta":{"type":"text_delta","text":"a"}}\n\n')
    assert not stream.complete
    stream.settle()
    assert (context.input_tokens, context.output_tokens) == (3, 5)


def test_nothing_passes_behind_the_end_however_it_is_cut() -> None:
    events = [chunk("a"), b"data: [DONE]\n\n", chunk("b")]
    for pieces in (events, [b"".join(events)]):
        stream = CompletionsStream(RequestContext(RequestHead("127.0.0.1")), strip_usage=True)
        passed = b""
        for piece in pieces:
            if not stream.complete:
                passed += stream.feed(piece)
        assert passed == chunk("a") + b"data: [DONE]\n\n"


def test_an_error_within_the_stream_ends_it_once() -> None:
    stream = CompletionsStream(RequestContext(RequestHead("127.0.0.1")), strip_usage=True)
    ended = stream.feed(b'data: {"error":{"message":"out of memory","code":500}}\n\n')
    assert ended.startswith(b'data: {"error":{"message":"out of memory"')
    assert ended.endswith(b"data: [DONE]\n\n")
    assert stream.complete
    assert stream.failure is not None
    assert stream.feed(b"data: [DONE]\n\n") == b""


def test_ids_of_events_never_pass() -> None:
    # OpenAI's SDK remembers the last id and takes every comment behind it for an event without data, which it refuses.
    stream = CompletionsStream(RequestContext(RequestHead("127.0.0.1")), strip_usage=True)
    for _ in ("looked into", "passed as it is"):
        assert stream.feed(b"id: 1\n" + chunk("a")) == chunk("a")
    decoded = list(SSEDecoder().iter_bytes(iter([stream.feed(b"id: 2\n" + chunk("b")), sse.KEEP_ALIVE])))
    assert [event.data for event in decoded] == [sse.data_of(chunk("b")).decode()]


@pytest.mark.parametrize(
    "block",
    [
        b"retry: 3000\n\n",
        b"event: ping\n\n",
        b"data:\n\n",
        b"data: \n\n",
        b"data: : keep-alive\n\n",
        b"event: message\ndata:\n\n",
        b"id: 7\n\n",
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_a_block_without_data_is_no_event_wherever_it_comes(block: bytes, together: bool) -> None:
    events = [block, chunk("a"), block, chunk("b"), block, chunk('\\"c'), block, b"data: [DONE]\n\n", block]
    stream = CompletionsStream(RequestContext(RequestHead("127.0.0.1")), strip_usage=True)
    passed = b"".join(map(stream.feed, [b"".join(events)] if together else events))
    assert passed == chunk("a") + chunk("b") + chunk('\\"c') + b"data: [DONE]\n\n"
    assert stream.events == 4


def test_the_comments_of_a_block_without_data_pass() -> None:
    stream = CompletionsStream(RequestContext(RequestHead("127.0.0.1")), strip_usage=True)
    assert stream.feed(b"retry: 1\n: busy\n\n" + chunk("a")) == b": busy\n\n" + chunk("a")


def test_events_without_a_space_behind_data_are_known_too() -> None:
    context = RequestContext(RequestHead("127.0.0.1"))
    stream = CompletionsStream(context, strip_usage=True)
    events = [chunk(text).replace(b"data: ", b"data:") for text in ("a", "b", '\\"c', "d")]
    assert stream.feed(events[0]) == events[0]
    for event in events[1:]:
        assert stream.passes(framed(event))
    stream.settle()
    assert context.output_tokens == 4


def test_a_stream_whose_body_ends_without_a_last_event_is_not_complete() -> None:
    for stream in (
        CompletionsStream(RequestContext(RequestHead("-")), strip_usage=True),
        MessagesStream(RequestContext(RequestHead("-"))),
        ResponsesStream(RequestContext(RequestHead("-"))),
    ):
        assert stream.end(b"") is None
        stream.feed(chunk("a"))
        assert stream.end(b"") is None
        assert not stream.complete


def test_a_last_event_that_was_cut_short_is_dropped() -> None:
    stream = CompletionsStream(RequestContext(RequestHead("-")), strip_usage=True)
    stream.feed(b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}\n\n')
    assert stream.end(b'data: {"choices":[],"usage":{"prompt_to\n\n') == b"data: [DONE]\n\n"
    stream = CompletionsStream(RequestContext(RequestHead("-")), strip_usage=True)
    stream.feed(chunk("a"))
    assert stream.end(b"data: [DON\n\n") is None
