"""OpenAI's streams: what passes, what is metered, what is left out, how they end."""

from __future__ import annotations

import pytest

from gateway.api.dialects.completions_stream import CompletionsStream
from gateway.core.context import RequestContext, RequestHead
from gateway.core.errors import UpstreamFailed

ROLE = b'data: {"id":"1","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
HELLO = b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"Hello"}}]}\n\n'
WORLD = b'data: {"id":"1","choices":[{"index":0,"delta":{"content":" world"}}]}\n\n'
USAGE = b'data: {"id":"1","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}\n\n'
DONE = b"data: [DONE]\n\n"


def has_begun(context: RequestContext) -> bool:
    return context.first_token_at is not None


def begin(*, strip_usage: bool = True) -> tuple[RequestContext, CompletionsStream]:
    context = RequestContext(RequestHead("-"))
    return context, CompletionsStream(context, strip_usage=strip_usage)


def test_events_pass_byte_for_byte_and_the_usage_event_is_left_out() -> None:
    context, stream = begin()
    passed = stream.feed(ROLE + HELLO) + stream.feed(WORLD) + stream.feed(USAGE + DONE)
    assert passed == ROLE + HELLO + WORLD + DONE
    assert stream.complete
    assert (context.input_tokens, context.output_tokens) == (5, 2)


def test_a_client_that_asked_for_usage_gets_it() -> None:
    _, stream = begin(strip_usage=False)
    assert stream.feed(HELLO + USAGE + DONE) == HELLO + USAGE + DONE


def test_the_first_token_is_the_first_event_with_content() -> None:
    context, stream = begin()
    stream.feed(b": from upstream\n\n" + ROLE)
    assert not has_begun(context)
    stream.feed(HELLO)
    first = context.first_token_at
    assert first is not None
    stream.feed(WORLD)
    assert context.first_token_at == first


def test_a_tool_call_reasoning_or_text_is_content_too() -> None:
    for event in (
        b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"f"}}]}}]}\n\n',
        b'data: {"choices":[{"delta":{"reasoning":"Hm"}}]}\n\n',
        b'data: {"choices":[{"text":"once"}]}\n\n',
    ):
        context, stream = begin()
        stream.feed(event)
        assert has_begun(context)


def test_usage_on_every_event_is_taken_from_the_last_and_never_added() -> None:
    context, stream = begin(strip_usage=False)
    for tokens in (1, 2, 3):
        stream.feed(
            b'data: {"choices":[{"delta":{"content":"x"}}],"usage":{"prompt_tokens":5,"completion_tokens":%d}}\n\n'
            % tokens
        )
    stream.settle()
    assert (context.input_tokens, context.output_tokens) == (5, 3)


def test_an_event_with_content_and_usage_is_never_left_out() -> None:
    both = b'data: {"choices":[{"delta":{"content":"x"}}],"usage":{"prompt_tokens":5,"completion_tokens":1}}\n\n'
    _, stream = begin()
    assert stream.feed(both) == both


def test_a_stream_that_was_cut_counts_what_was_sent() -> None:
    context, stream = begin()
    stream.feed(ROLE + HELLO)
    stream.feed(WORLD + b": comment\n\n" + WORLD)
    stream.settle()
    assert context.output_tokens == 3


def test_done_within_the_text_is_not_the_end() -> None:
    _, stream = begin()
    stream.feed(HELLO)
    stream.feed(b'data: {"choices":[{"delta":{"content":"data: [DONE]"}}]}\n\n')
    assert not stream.complete


def test_an_error_within_the_stream_is_given_in_openais_shape_and_ends_it() -> None:
    _, stream = begin()
    passed = stream.feed(
        HELLO + b'data: {"error":{"message":"boom","type":"InternalServerError","code":500}}\n\n' + DONE
    )
    assert passed == HELLO + (
        b'data: {"error":{"message":"boom","type":"server_error","param":null,"code":"upstream_failed"}}\n\n'
        b"data: [DONE]\n\n"
    )
    assert stream.complete
    assert repr(stream.failure) == "<UpstreamFailed 502 upstream_failed: boom>"


def test_an_error_within_the_stream_keeps_a_status_that_blames_the_request() -> None:
    _, stream = begin()
    stream.feed(b'data: {"error":{"message":"bad image","type":"BadRequestError","code":400}}\n\n')
    assert stream.failure is not None
    assert stream.failure.status == 400


def test_an_error_beside_choices_is_one_for_openais_sdk_and_so_here() -> None:
    _, stream = begin()
    passed = stream.feed(
        HELLO + b'data: {"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}],'
        b'"error":{"code":"server_error","message":"Provider disconnected"}}\n\n' + DONE
    )
    assert passed.count(DONE) == 1
    assert b'"code":"server_error"' in passed
    assert repr(stream.failure) == "<UpstreamFailed 502 server_error: Provider disconnected>"


@pytest.mark.parametrize("nothing", [b"null", b"{}", b'""', b"false"])
def test_an_error_that_says_nothing_is_none(nothing: bytes) -> None:
    _, stream = begin()
    event = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}],"error":%b}\n\n' % nothing
    assert stream.feed(event + event) == event + event
    assert stream.failure is None


@pytest.mark.parametrize("marker", [b"data: [DONE]\n\n", b"data:[DONE]\n\n", b"data: [DONE] \n\n"])
def test_the_end_marker_is_one_in_all_its_forms(marker: bytes) -> None:
    _, stream = begin()
    assert stream.feed(HELLO) + stream.feed(marker) == HELLO + marker
    assert stream.complete
    _, stream = begin()
    stream.feed(HELLO)
    assert stream.end(marker) == marker


def finished(index: int, reason: str = "stop", *, space: bytes = b"") -> bytes:
    reason_field = b'"finish_reason":%b"%b"' % (space, reason.encode())
    return b'data: {"choices":[{"index":%d,"delta":{},%b}]}\n\n' % (index, reason_field)


def of(index: int, text: str) -> bytes:
    return b'data: {"choices":[{"index":%d,"delta":{"content":"%b"},"finish_reason":null}]}\n\n' % (
        index,
        text.encode(),
    )


@pytest.mark.parametrize("space", [b"", b" "])
@pytest.mark.parametrize("usage", [b"", USAGE])
@pytest.mark.parametrize("together", [True, False])
def test_with_all_choices_finished_a_missing_end_marker_is_added(space: bytes, usage: bytes, together: bool) -> None:
    events = [of(0, "a"), of(0, "b"), finished(0, "length", space=space), usage]
    context, stream = begin()
    passed = b"".join(map(stream.feed, [b"".join(events)] if together else events))
    assert stream.end(b"") == DONE
    assert passed == b"".join(events[:3])
    assert stream.complete
    assert context.output_tokens == (2 if usage else 0)


def test_a_finish_reason_in_the_event_that_has_no_blank_line_counts() -> None:
    _, stream = begin()
    stream.feed(of(0, "a"))
    assert stream.end(finished(0)) == finished(0) + DONE


@pytest.mark.parametrize(
    "events",
    [
        [of(0, "a"), of(1, "a"), finished(0)],
        [of(0, "a"), of(0, "b"), of(1, "a"), of(1, "b"), finished(1)],
        [of(0, "a"), of(0, "b"), of(1, "a"), of(2, "a"), finished(0), finished(1)],
        [of(1, "a"), finished(1)],
        [of(0, "a"), of(0, "b")],
        [of(0, "a"), finished(0, "")],
        [of(0, '\\"finish_reason\\":\\"stop\\"')],
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_with_a_choice_that_is_not_finished_the_stream_is_not_complete(events: list[bytes], together: bool) -> None:
    _, stream = begin()
    for piece in [b"".join(events)] if together else events:
        stream.feed(piece)
    assert stream.end(b"") is None


def test_several_choices_are_complete_when_the_last_of_them_is_finished() -> None:
    _, stream = begin()
    for event in (of(0, "a"), of(1, "a"), finished(1), of(0, "b"), of(0, "c"), finished(0)):
        assert stream.feed(event) == event
    assert stream.end(b"") == DONE


def test_an_engine_that_says_in_each_event_that_it_has_no_reason_to_finish_is_passed_on_unread() -> None:
    _, stream = begin()
    event = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":""}]}\n\n'
    stream.feed(event)
    framed = b"%x\r\n%b\r\n" % (len(event), event)
    assert stream.passes(framed) == len(framed)
    assert stream.end(finished(0)) == finished(0) + DONE


def test_an_event_that_is_not_json_is_the_clients_to_judge() -> None:
    _, stream = begin()
    assert stream.feed(b"data: {oops\n\n") == b"data: {oops\n\n"


def test_our_own_error_ends_with_the_marker() -> None:
    _, stream = begin()
    assert stream.error(UpstreamFailed("gone")).endswith(b'"code":"upstream_failed"}}\n\ndata: [DONE]\n\n')
