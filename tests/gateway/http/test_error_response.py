"""An engine's error response: its words, its limits, and when it says to come back."""

from __future__ import annotations

import gzip
import zlib
from email.utils import formatdate
from time import time

import pytest

from gateway.core.errors import Retry
from gateway.http.error_response import LONGEST_WAIT, add_advice, read_error, retry_after
from gateway.http.response_head import ResponseHead

BODY = b'{"error":{"message":"max_tokens is too large","param":"max_tokens"}}'


def head(status: int, **headers: str) -> ResponseHead:
    return ResponseHead.read(status, [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()])


def test_advice_about_limits_and_retries_comes_as_it_is_and_nothing_else_does() -> None:
    lines = [
        (b"X-Should-Retry", b"false"),
        (b"content-type", b"application/json"),
        (b"x-ratelimit-reset-requests", b"7s"),
        (b"x-ratelimit-limit-tokens", b"10"),
        (b"anthropic-ratelimit-unified-status", b"rejected"),
        (b"RateLimit-Policy", b'"burst";q=100;w=60'),
        (b"retry-after", b"7"),
        (b"request-id", b"req_1"),
        (b"set-cookie", b"a=b"),
    ]
    error = read_error(ResponseHead.read(429, lines), b"{}")
    assert error.headers == (
        b"x-should-retry: false\r\nx-ratelimit-reset-requests: 7s\r\nx-ratelimit-limit-tokens: 10\r\n"
        b'anthropic-ratelimit-unified-status: rejected\r\nratelimit-policy: "burst";q=100;w=60\r\n'
    )
    assert error.retry_after == 7


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry_after": "7"}, 7),
        ({"retry_after": "0.5"}, 0.5),
        ({"retry_after": "7", "retry_after_ms": "6500"}, 6.5),
        ({"retry_after_ms": "250.5"}, 0.2505),
        ({"retry_after": "9" * 400}, LONGEST_WAIT),
        ({"retry_after": "inf"}, LONGEST_WAIT),
        ({"retry_after": "Wed, 21 Oct 2099 07:28:00 GMT"}, LONGEST_WAIT),
        ({"retry_after": "Wed Oct 21 07:28:00 2099"}, LONGEST_WAIT),
        ({"retry_after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "-1"}, None),
        ({"retry_after": "nan"}, None),
        ({"retry_after": ""}, None),
        ({"retry_after": "3", "retry_after_ms": "soon"}, 3),
        ({"retry_after": "Wed, 99 Oct 2099 07:28:00 GMT"}, None),
    ],
    ids=str,
)
def test_when_to_come_back_may_be_said_in_many_ways(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(head(503, **headers)) == seconds


def test_a_date_is_as_far_away_as_it_is() -> None:
    found = retry_after(head(503, retry_after=formatdate(time() + 600, usegmt=True)))
    assert found is not None
    assert 0 < found <= 600


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(BODY, mtime=0)),
        ("GZip", gzip.compress(BODY, mtime=0)),
        ("deflate", zlib.compress(BODY)),
        ("identity", BODY),
        ("", BODY),
    ],
)
def test_the_words_of_an_error_are_read_though_it_was_compressed(coding: str, body: bytes) -> None:
    error = read_error(head(400, content_encoding=coding), body)
    assert (error.message, error.param) == ("max_tokens is too large", "max_tokens")


@pytest.mark.parametrize(("coding", "body"), [("br", b"\x8b"), ("gzip", b"no gzip"), ("gzip, br", b"\x1f\x8b")])
def test_of_an_error_that_cannot_be_read_the_status_is_left(coding: str, body: bytes) -> None:
    error = read_error(head(400, content_encoding=coding), body)
    assert (error.status, error.message) == (400, "The engine answered 400 without saying why.")


def test_a_compressed_error_cannot_grow_without_end() -> None:
    error = read_error(head(500, content_encoding="gzip"), gzip.compress(b"x" * 50_000_000))
    assert error.message == "x" * 300


def test_a_redirect_is_a_failure_that_is_not_tried_again() -> None:
    error = read_error(head(302, location="/elsewhere"), b"")
    assert (error.status, error.retry) == (502, Retry.NO)
    assert "redirect (302)" in error.message


def test_an_error_within_a_stream_gets_the_advice_of_the_streams_head() -> None:
    error = read_error(head(503), b"")
    add_advice(error, head(200, x_should_retry="true", retry_after="2"))
    assert (error.headers, error.retry_after) == (b"x-should-retry: true\r\n", 2)
