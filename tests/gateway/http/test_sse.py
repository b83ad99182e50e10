"""Events are forwarded whole, however the bytes were cut on their way and whichever way their lines end."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http import sse

STREAM = b': hello\n\ndata: {"a":1}\n\nevent: x\ndata: 1\ndata: 2\n\ndata: [DONE]\n\n'


def fed(splitter: sse.EventSplitter, *pieces: bytes) -> list[bytes]:
    return [splitter.feed(piece) for piece in pieces]


def test_whole_events_pass_at_once() -> None:
    splitter = sse.EventSplitter()
    assert fed(splitter, b"data: 1\n\n", b"data: 2\n\ndata: 3\n\n") == [b"data: 1\n\n", b"data: 2\n\ndata: 3\n\n"]
    assert splitter.pending == 0


def test_an_unfinished_event_waits_for_its_end() -> None:
    splitter = sse.EventSplitter()
    assert fed(splitter, b"data: 1\n\ndata", b": 2", b"\n") == [b"data: 1\n\n", b"", b""]
    assert splitter.pending == len(b"data: 2\n")
    assert splitter.feed(b"\ndata: 3") == b"data: 2\n\n"


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\n\r\n", b"\r\n\n", b"\r\r", b"\n\r"])
def test_every_blank_line_ends_an_event(end: bytes) -> None:
    assert fed(sse.EventSplitter(), b"data: 1" + end + b"data: 2") == [b"data: 1\n\n"]


@given(
    st.sets(st.integers(1, 2 * len(STREAM))),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
)
def test_the_same_events_come_out_however_they_were_cut(cuts: set[int], line_end: bytes, mark: bytes) -> None:
    stream = mark + STREAM.replace(b"\n", line_end)
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    splitter = sse.EventSplitter()
    out = fed(splitter, *(stream[start:end] for start, end in pairwise(edges)))
    assert b"".join(out) == STREAM
    assert all(piece == b"" or piece.endswith(b"\n\n") for piece in out)


def test_an_event_whose_lines_end_with_a_bare_carriage_return_does_not_wait_for_the_next_one() -> None:
    assert fed(sse.EventSplitter(), b"data: 1\r\r", b"data: 2\r", b"\r") == [b"data: 1\n\n", b"", b"data: 2\n\n"]


def test_a_byte_order_mark_is_one_only_at_the_start() -> None:
    marked = b"\xef\xbb\xbfdata: 1\n\n"
    assert fed(sse.EventSplitter(), marked, marked) == [b"data: 1\n\n", marked]


@pytest.mark.parametrize(
    ("pieces", "rest"),
    [
        ([b"data: 1\n\ndata: [DONE]"], b"data: [DONE]\n\n"),
        ([b"data: [DONE]\n"], b"data: [DONE]\n\n"),
        ([b"data: [DONE]\r", b"\n"], b"data: [DONE]\n\n"),
        ([b"data: 1\n\n", b"\n"], b""),
        ([b"data: 1\n\n"], b""),
        ([], b""),
    ],
)
def test_what_has_no_blank_line_at_the_end_of_the_stream_is_given_one(pieces: list[bytes], rest: bytes) -> None:
    splitter = sse.EventSplitter()
    fed(splitter, *pieces)
    assert (splitter.flush(), splitter.pending) == (rest, 0)


def test_an_event_without_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 10)
    splitter = sse.EventSplitter()
    assert splitter.feed(b"data: 1234") == b""
    with pytest.raises(sse.EventTooLarge, match="more than 10 bytes"):
        splitter.feed(b"5")


@pytest.mark.parametrize(
    ("events", "parts"),
    [
        (b"data: 1\n\ndata: 2\n\n", [b"data: 1\n\n", b"data: 2\n\n"]),
        (b"data: 1\n\n: c\n\n", [b"data: 1\n\n", b": c\n\n"]),
        (b"data: 1\n\n\n", [b"data: 1\n\n", b"\n"]),
        (b"", []),
    ],
)
def test_split(events: bytes, parts: list[bytes]) -> None:
    assert list(sse.split(events)) == parts


@given(st.lists(st.sampled_from([b"data: 1", b"\n", b"\n\n", b"\r\n", b":", b"x"])).map(b"".join))
def test_split_events_joined_are_the_same_bytes(events: bytes) -> None:
    assert b"".join(sse.split(events)) == events


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b'data: {"a":1}\n\n', b'{"a":1}'),
        (b'data:{"a":1}\n\n', b'{"a":1}'),
        (b"data:  two spaces\n\n", b" two spaces"),
        (b"event: x\ndata: 1\ndata: 2\n\n", b"1\n2"),
        (b": keep-alive\n\n", b""),
        (b"database: 1\n\n", b""),
        (b"\n", b""),
    ],
)
def test_data_of(event: bytes, data: bytes) -> None:
    assert sse.data_of(event) == data


@pytest.mark.parametrize(
    ("events", "rest"),
    [
        (b"id: 1\ndata: a\n\n", b"data: a\n\n"),
        (b"id:1\ndata: a\n\ndata: b\nid: 2\n\n", b"data: a\n\ndata: b\n\n"),
        (b'data: {"id": "id: 1"}\n\nidle: x\n\n', b'data: {"id": "id: 1"}\n\nidle: x\n\n'),
    ],
)
def test_ids_are_left_out_line_by_line(events: bytes, rest: bytes) -> None:
    assert sse.without_ids(events) == rest


@pytest.mark.parametrize(
    ("block", "comments"),
    [
        (b": busy\n\n", b": busy\n\n"),
        (b"retry: 3000\n: one\nevent: ping\n: two\n\n", b": one\n: two\n\n"),
        (b"event: ping\n\n", b""),
        (b"data:\n\n", b""),
        (b"\n", b""),
    ],
)
def test_of_a_block_without_data_the_comments_remain(block: bytes, comments: bytes) -> None:
    assert sse.comments_of(block) == comments


@pytest.mark.parametrize(
    ("events", "held"),
    [
        (b"data: a\n\n", True),
        (b"data:a\n\n", True),
        (b": a comment\n\nevent: x\ndata: a\n\n", True),
        (b"data:  \n\n", True),
        (b"", False),
        (b"data: \n\n", False),
        (b"data:\n\n", False),
        (b": data: a\n\n", False),
        (b"event: data: a\nid: 1\n\n", False),
    ],
)
def test_only_events_with_data_hold_something(events: bytes, held: bool) -> None:
    assert sse.has_data(events) is held
    assert any(map(sse.data_of, sse.split(events))) is held
