"""The head of an engine's answer: where its body ends, what it is, and which of its lines reach the client."""

from __future__ import annotations

import pytest

from gateway.http.response_head import ERROR, EVENTS, WHOLE, Kind, ResponseHead, ResponseHeads


def test_an_engines_headers_pass_down_in_their_order() -> None:
    headers = [(b"content-type", b"application/json"), (b"x-kv", b"1"), (b"x-kv", b"2")]
    assert ResponseHead.read(200, headers).down == b"content-type: application/json\r\nx-kv: 1\r\nx-kv: 2\r\n"


@pytest.mark.parametrize(
    "name",
    [
        b"connection",
        b"keep-alive",
        b"trailer",
        b"upgrade",
        b"server",
        b"set-cookie",
        b"request-id",
        b"x-request-id",
        b"openai-processing-ms",
        b"access-control-allow-origin",
    ],
)
def test_what_belongs_to_one_connection_or_to_the_gateway_never_passes_down(name: bytes) -> None:
    assert ResponseHead.read(200, [(name, b"close"), (b"date", b"now")]).down == b"date: now\r\n"


def test_headers_that_the_engine_names_in_connection_stay_behind() -> None:
    headers = [(b"x-a", b"1"), (b"connection", b"close, X-A"), (b"connection", b"x-b"), (b"x-b", b"2"), (b"x-c", b"3")]
    assert ResponseHead.read(200, headers).down == b"x-c: 3\r\n"


@pytest.mark.parametrize(
    ("lines", "length", "framed"),
    [
        ([(b"Content-Length", b"5")], 5, True),
        ([(b"Transfer-Encoding", b"Chunked")], None, True),
        ([], None, False),
    ],
)
def test_where_a_body_ends(lines: list[tuple[bytes, bytes]], length: int | None, framed: bool) -> None:
    head = ResponseHead.read(200, [*lines, (b"Date", b"now")])
    assert (head.length, head.framed, head.down) == (length, framed, b"date: now\r\n")


@pytest.mark.parametrize(
    "lines",
    [
        [(b"content-length", b"5"), (b"content-length", b"5")],
        [(b"content-length", b"5"), (b"transfer-encoding", b"chunked")],
        [(b"transfer-encoding", b"gzip, chunked")],
    ],
)
def test_an_end_that_could_be_read_in_two_ways_is_refused(lines: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(ValueError, match=r"a response that says twice|a transfer-encoding that was not asked for"):
        ResponseHead.read(200, lines)


@pytest.mark.parametrize("media", [b"text/event-stream", b"Text/Event-Stream; charset=utf-8"])
def test_of_a_stream_of_events_the_gateway_says_some_things_itself(media: bytes) -> None:
    lines = [(b"cache-control", b"x"), (b"content-type", media), (b"x-accel-buffering", b"yes"), (b"x-kv", b"1")]
    head = ResponseHead.read(200, lines)
    assert (head.kind, head.down) == (EVENTS, b"x-kv: 1\r\n")


@pytest.mark.parametrize(
    ("status", "media", "kind"),
    [
        (200, b"application/json", WHOLE),
        (299, b"text/event-stream", EVENTS),
        (300, b"application/json", ERROR),
        (503, b"text/event-stream", ERROR),
    ],
)
def test_what_an_answer_is_by_its_status_and_media_type(status: int, media: bytes, kind: Kind) -> None:
    assert ResponseHead.read(status, [(b"content-type", media)]).kind is kind


@pytest.mark.parametrize(
    ("coding", "kind"),
    [(b"gzip", WHOLE), (b"BR", WHOLE), (b"identity, zstd", WHOLE), (b"Identity", EVENTS), (b"", EVENTS)],
)
def test_events_that_are_compressed_pass_as_they_are(coding: bytes, kind: Kind) -> None:
    head = ResponseHead.read(200, [(b"content-encoding", coding), (b"content-type", b"text/event-stream")])
    assert head.kind is kind
    assert b"content-encoding: " + coding in head.down


def test_the_first_of_several_values() -> None:
    head = ResponseHead.read(503, [(b"Retry-After", b"3"), (b"retry-after", b"4")])
    assert (head.first(b"retry-after"), head.first(b"x-none")) == (b"3", None)


def test_what_holds_for_any_length() -> None:
    head = ResponseHead.read(200, [(b"content-length", b"5"), (b"x-a", b"1")]).of_any_length()
    assert (head.length, head.framed, head.lines, head.down) == (None, True, [(b"x-a", b"1")], b"x-a: 1\r\n")


def test_the_same_lines_are_read_once() -> None:
    heads = ResponseHeads()
    lines = [(b"content-type", b"application/json"), (b"content-length", b"2")]
    first = heads.read(200, lines)
    assert heads.read(200, list(lines)) is first
    assert heads.read(201, lines) is not first


def test_where_that_is_off_they_are_read_each_time() -> None:
    heads = ResponseHeads(enabled=False)
    assert heads.read(200, []) is not heads.read(200, [])


def test_the_load_of_an_engine_is_kept_and_stays_behind() -> None:
    heads = ResponseHeads()
    told = heads.read(200, [(b"Endpoint-Load-Metrics", b"TEXT a=1"), (b"x-a", b"1")])
    assert (told.load, told.down) == (b"TEXT a=1", b"x-a: 1\r\n")
    heads.read(200, [(b"x-a", b"1")])
    assert heads.latest_load is told
