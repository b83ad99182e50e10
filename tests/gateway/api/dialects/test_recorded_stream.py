"""A stream keeps its text, whichever way its events come, and tells how another replica can go on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.api.dialects import recorded_stream
from gateway.api.dialects.recorded_stream import RecordedStream
from gateway.core.context import RequestContext, RequestHead

ASKED = b'{"messages":[{"role":"user","content":"Hi"}]}'
WORDS = ["One", " two", ' "three"', " f\u00f6ur", "\n", "five", "", " six"]


def event(text: str, finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish} | more
    data = {"id": "1", "created": 5, "model": "m", "choices": [choice]}
    return b"data: %b\n\n" % json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def begun(*, strip_usage: bool = True) -> RecordedStream:
    return RecordedStream(RequestContext(RequestHead("-")), strip_usage=strip_usage)


def kept(stream: RecordedStream) -> str | None:
    """Return the text from which another replica would go on."""
    continuation = stream.resume(ASKED, 0)
    if continuation is None:
        return None
    text: str = json.loads(continuation.body)["messages"][-1]["content"]
    return text


def relay(stream: RecordedStream, data: bytes) -> None:
    """Pass chunks as they are as far as that is possible, and feed the others."""
    passed = stream.passes(data)
    rest = data[passed:]
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        stream.feed(rest[: int(size, 16)])
        rest = rest[int(size, 16) + 2 :]


@pytest.mark.parametrize("at_once", [1, 2, 3, 8])
def test_the_text_is_kept_whichever_way_its_events_come(at_once: int) -> None:
    events = [event(word) for word in WORDS]
    groups = [events[at : at + at_once] for at in range(0, len(events), at_once)]
    fed, alone, together, unlike = begun(), begun(), begun(), begun()
    unlike.read_each_event()
    for group in groups:
        assert fed.feed(b"".join(group)) == b"".join(group)
        assert unlike.feed(b"".join(group)) == b"".join(group)
        relay(alone, b"".join(map(chunk, group)))
        relay(together, chunk(b"".join(group)))
    assert [kept(stream) for stream in (fed, alone, together, unlike)] == ["".join(WORDS)] * 4


def test_what_was_kept_counts_against_the_limit() -> None:
    stream = begun()
    stream.feed(event("One") + event(" two"))
    continuation = stream.resume(b'{"prompt":"Hi","max_tokens":9}', 0)
    assert continuation is not None
    assert json.loads(continuation.body) == {"prompt": "HiOne two", "max_tokens": 7}


@pytest.mark.parametrize(
    "more",
    [
        b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0}]}}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"reasoning_content":"Hm"}}]}\n\n',
        b'data: {"choices":[{"index":1,"delta":{"content":"a"}}]}\n\n',
        b"data: {nonsense\n\n",
    ],
)
@pytest.mark.parametrize("at_once", [False, True])
def test_a_stream_that_brings_more_than_the_text_of_one_choice_cannot_be_continued(more: bytes, at_once: bool) -> None:
    stream = begun()
    if at_once:
        stream.feed(event("One") + more + event(" two"))
    else:
        for each in (event("One"), more, event(" two")):
            stream.feed(each)
    assert kept(stream) is None


def test_a_text_that_is_too_long_is_not_kept_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_stream, "MAX_TEXT_BYTES", 10)
    stream = begun()
    for _ in range(5):
        relay(stream, chunk(event(" word")))
    assert kept(stream) is None
    for _ in range(5):
        relay(stream, chunk(event(" word")))
    assert stream.events == 10


def test_before_its_first_event_nothing_can_be_continued() -> None:
    assert kept(begun()) is None


def test_an_error_that_another_replica_may_not_have_is_withheld_and_forgotten() -> None:
    stream = begun()
    error = b'data: {"error":{"message":"Dead.","code":500}}\n\n'
    assert stream.feed(event("One") + error + b"data: [DONE]\n\n") == event("One")
    assert (stream.withheld, stream.complete) == (True, True)
    assert kept(stream) == "One"
    assert (stream.withheld, stream.complete, stream.failure) == (False, False, None)
    assert stream.feed(event(" two") + b"data: [DONE]\n\n") == event(" two") + b"data: [DONE]\n\n"


def test_an_error_that_blames_the_request_is_given() -> None:
    stream = begun()
    assert b"Too long." in stream.feed(event("One") + b'data: {"error":{"message":"Too long.","code":400}}\n\n')
    assert not stream.withheld


def test_a_finished_text_only_lacks_its_end_marker_unless_usage_is_owed() -> None:
    for strip_usage, last in ((True, b"data: [DONE]\n\n"), (False, None)):
        stream = begun(strip_usage=strip_usage)
        stream.feed(event("One"))
        assert stream.finish() is None
        stream.feed(event("", "stop"))
        assert stream.finish() == last
