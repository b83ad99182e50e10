"""OpenAI's responses: numbered events, usage in the last one, an error that continues the numbers."""

from __future__ import annotations

import json

import pytest

from gateway.api.dialects.responses import Responses, ResponsesStream
from gateway.core.context import RequestContext, RequestHead
from gateway.core.errors import UpstreamFailed


def event(name: str, number: int, **fields: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, 'sequence_number': number, **fields})}\n\n".encode()


CREATED = event("response.created", 0)
DELTA = event("response.output_text.delta", 1, delta="Hi")


def begin() -> tuple[RequestContext, ResponsesStream]:
    context = RequestContext(RequestHead("-"))
    return context, Responses().stream(context, strip_usage=True)


@pytest.mark.parametrize("end", ["response.completed", "response.incomplete"])
def test_a_response_passes_byte_for_byte_and_is_metered(end: str) -> None:
    context, stream = begin()
    last = event(end, 2, response={"usage": {"input_tokens": 8, "output_tokens": 3}})
    assert stream.feed(CREATED) + stream.feed(DELTA) + stream.feed(last) == CREATED + DELTA + last
    assert context.first_token_at is not None
    assert stream.complete
    assert stream.failure is None
    assert (context.input_tokens, context.output_tokens) == (8, 3)


def test_a_failed_response_is_a_failure() -> None:
    _, stream = begin()
    stream.feed(DELTA)
    stream.feed(event("response.failed", 2, response={}))
    assert stream.complete
    assert isinstance(stream.failure, UpstreamFailed)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"code": "rate_limit_exceeded", "message": "m"}, 429),
        ({"code": "server_error", "message": "m"}, 502),
        ({"code": "invalid_prompt", "message": "m"}, 400),
    ],
)
def test_a_failed_response_says_by_its_code_why(error: dict[str, str], status: int) -> None:
    _, stream = begin()
    failed = event("response.failed", 2, response={"error": error})
    assert stream.feed(DELTA + failed) == DELTA + failed
    assert stream.failure is not None
    assert (stream.failure.status, stream.failure.code, stream.failure.message) == (status, error["code"], "m")


@pytest.mark.parametrize("end", ["response.completed", "response.incomplete", "response.failed"])
@pytest.mark.parametrize("together", [True, False])
def test_a_response_ends_whether_or_not_its_events_have_names(end: str, together: bool) -> None:
    last = event(end, 2, response={"usage": {"input_tokens": 8, "output_tokens": 3}})
    events = [each[each.index(b"data:") :] for each in (CREATED, DELTA, DELTA, last)]
    context, stream = begin()
    passed = b"".join(map(stream.feed, [b"".join(events)] if together else events))
    assert passed == b"".join(events)
    assert stream.complete
    assert context.first_token_at is not None
    assert (context.input_tokens, context.output_tokens) == (8, 3)


def test_the_last_event_needs_no_blank_line() -> None:
    _, stream = begin()
    stream.feed(CREATED + DELTA)
    last = event("response.completed", 2, response={})
    assert stream.end(last) == last


ERROR = b'event: error\ndata: {"type":"error","code":"rate_limit_exceeded","message":"boom","param":null}\n\n'
FAILED = event("response.failed", 3, response={"error": {"code": "server_error", "message": "other"}})


@pytest.mark.parametrize("pieces", [[ERROR + FAILED], [ERROR, FAILED]])
def test_the_failed_response_behind_an_error_passes(pieces: list[bytes]) -> None:
    _, stream = begin()
    stream.feed(CREATED + DELTA)
    passed = b"".join(map(stream.feed, pieces))
    assert passed.endswith(b"}\n\n" + FAILED)
    assert passed.count(b"event: error") == 1
    assert stream.complete
    assert stream.failure is not None
    assert (stream.failure.status, stream.failure.code) == (429, "rate_limit_exceeded")


def test_an_error_is_the_end_where_nothing_follows_it() -> None:
    _, stream = begin()
    stream.feed(CREATED + ERROR)
    assert not stream.complete
    assert stream.end(b"") == b""
    assert stream.complete


def test_a_client_is_told_of_one_error_only() -> None:
    _, stream = begin()
    assert stream.feed(ERROR + ERROR).count(b"boom") == stream.feed(ERROR).count(b"boom") + 2
    assert stream.refused
    assert stream.error(UpstreamFailed("The engine closed the connection.")) == b""


def test_our_own_error_takes_the_next_number() -> None:
    _, stream = begin()
    stream.feed(CREATED + DELTA)
    written = stream.error(UpstreamFailed("gone"))
    assert written.startswith(b"event: error\ndata: ")
    data = json.loads(written.split(b"data: ")[1])
    assert (data["type"], data["sequence_number"], data["message"]) == ("error", 2, "gone")
    assert data["error"]["code"] == "upstream_failed"


def test_an_engines_error_event_is_a_failure() -> None:
    _, stream = begin()
    stream.feed(DELTA)
    stream.feed(b'event: error\ndata: {"type":"error","message":"boom"}\n\n')
    assert stream.failure is not None
    assert stream.failure.message == "boom"


def test_its_number_is_the_same_however_the_stream_was_cut() -> None:
    failed = b'event: error\ndata: {"type":"error","message":"boom"}\n\n'
    for pieces in ([CREATED, DELTA, failed], [CREATED + DELTA + failed]):
        _, stream = begin()
        last = [stream.feed(piece) for piece in pieces][-1]
        assert json.loads(last.rpartition(b"data: ")[2])["sequence_number"] == 2


def test_a_whole_response_is_metered() -> None:
    context = RequestContext(RequestHead("-"))
    Responses().meter(context, b'{"usage":{"input_tokens":1,"output_tokens":2}}')
    assert (context.input_tokens, context.output_tokens) == (1, 2)
    assert Responses().error_body(UpstreamFailed("gone")).startswith(b'{"error"')
