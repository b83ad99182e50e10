"""A head is known again by its bytes; what is not exactly one whole message with that head is left to the parser."""

from __future__ import annotations

import pytest

from gateway.http.head_cache import CachedHead, HeadCache

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nX-A: 1\r\n\r\n"


def message(body: bytes) -> bytes:
    return HEAD % len(body) + body


def known() -> CachedHead[str]:
    head = CachedHead.learn(message(b"hello"), 5, "value")
    assert head is not None
    return head


@pytest.mark.parametrize("body", [b"hello", b"", b"x" * 1000, b"\r\n\r\n", *(b"x" * size for size in (9, 10, 99, 100))])
def test_a_message_with_the_same_head_is_known_whatever_its_length(body: bytes) -> None:
    assert known().body(message(body)) == body
    assert known().value == "value"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        message(b"hello")[:20],
        message(b"hello")[:-1],
        message(b"")[:-1],
        message(b"")[:-4],
        message(b"hello") + b"P",
        message(b"hello").replace(b"X-A: 1", b"X-A: 2"),
        message(b"hello").replace(b"Host: x", b"Host: y"),
        message(b"hello").replace(b"Length: 5", b"Length: +5"),
        message(b"hello").replace(b"Length: 5", b"Length: -5"),
        message(b"hello").replace(b"Length: 5", b"Length: 5 "),
        message(b"hello").replace(b"Length: 5", b"Length: "),
        message(b"hello").replace(b"Length: 5", b"Length: 0x5"),
        message(b"hello").replace(b"Length: 5", b"Length: " + b"0" * 30 + b"5"),
        message(b"hello").replace(b"Length: 5\r\n", b"Length: 5\n"),
    ],
)
def test_anything_else_is_not(data: bytes) -> None:
    assert known().body(data) is None


@pytest.mark.parametrize(
    ("data", "body_bytes"),
    [
        (b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", 0),
        (message(b"hello")[:-1], 5),
        (message(b"hello") + message(b"hello"), 5),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", 0),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", 2),
        (b"POST / HTTP/1.1\r\nx: content-length: 5\r\n\r\nhello", 5),
        (b"POST / HTTP/1.1\r\ncontent-length: 5 \r\n\r\nhello", 5),
        (b"", 0),
    ],
)
def test_only_the_head_of_one_whole_message_of_known_length_can_be_learned(data: bytes, body_bytes: int) -> None:
    assert CachedHead.learn(data, body_bytes, "value") is None


def test_what_is_shared_says_what_was_learned_last() -> None:
    learned = HeadCache[str]()
    assert repr(learned) == "<HeadCache [none]>"
    learned.newest = known()
    assert repr(learned) == f"<HeadCache [{known().value!r}]>"
