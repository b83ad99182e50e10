"""A head is known again by its bytes; what is not exactly one whole message with that head is left to the parser."""

from __future__ import annotations

import pytest

from gateway.http.head_cache import CachedHead, HeadCache, SharedHead

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nX-A: 1\r\n\r\n"


def message(body: bytes) -> bytes:
    return HEAD % len(body) + body


def cache(*, enabled: bool = True) -> HeadCache[str]:
    made: HeadCache[str] = HeadCache(enabled=enabled)
    made.learn(message(b"hello"), 5, "value")
    return made


@pytest.mark.parametrize("body", [b"hello", b"", b"x" * 1000, b"\r\n\r\n", *(b"x" * size for size in (9, 10, 99, 100))])
def test_a_message_with_the_same_head_is_known_whatever_its_length(body: bytes) -> None:
    assert cache().match(message(body)) == ("value", body)


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
    assert cache().match(data) is None


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


def test_what_cannot_be_learned_leaves_what_is_known() -> None:
    made = cache()
    made.learn(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", 0, "other")
    assert made.match(message(b"a")) == ("value", b"a")


def test_a_cache_that_is_off_never_recognises_anything() -> None:
    made = cache(enabled=False)
    assert made.match(message(b"hello")) is None
    assert repr(made) == "<HeadCache [off]>"


def test_what_is_forgotten_is_not_recognised() -> None:
    made = cache()
    assert repr(made) == "<HeadCache ['value']>"
    made.forget()
    assert made.match(message(b"hello")) is None
    assert repr(made) == "<HeadCache [empty]>"


def test_what_one_cache_has_learned_is_good_for_all_that_share_it() -> None:
    newest = SharedHead[str]()
    one, other = HeadCache(newest), HeadCache(newest)
    assert repr(newest) == "<SharedHead [none]>"
    assert other.match(message(b"hello")) is None
    one.learn(message(b"hello"), 5, "value")
    assert repr(newest) == "<SharedHead ['value']>"
    assert other.match(message(b"hi")) == ("value", b"hi")
    assert repr(other) == "<HeadCache ['value']>"
