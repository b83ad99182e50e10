"""Heads: what crosses the gateway in either direction, and how an answer's first lines look."""

from __future__ import annotations

import pytest

from gateway.core.errors import BadRequest, InvalidKey, MalformedHttp, MethodNotAllowed, Unavailable, UnsupportedCoding
from gateway.http import request_head


@pytest.mark.parametrize("offered", [b"a", b"req_1.2-3", b"x" * 128])
def test_a_well_formed_request_id_is_kept(offered: bytes) -> None:
    assert request_head.RequestIds().choose(offered) == offered.decode()


@pytest.mark.parametrize("offered", [None, b"", b"a b", b"x" * 129, b"a\n", "ü".encode(), b'a"b'])
def test_any_other_request_id_is_replaced(offered: bytes | None) -> None:
    assert request_head.RequestIds().choose(offered).startswith("req-")


def test_fresh_request_ids_differ_within_and_between_processes() -> None:
    one, other = request_head.RequestIds(), request_head.RequestIds()
    assert len({ids.choose(None) for ids in (one, one, one, other, other, other)}) == 6


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (200, b"HTTP/1.1 200 OK\r\n"),
        (431, b"HTTP/1.1 431 Request Header Fields Too Large\r\n"),
        (299, b"HTTP/1.1 299 \r\n"),
    ],
)
def test_status_lines(status: int, line: bytes) -> None:
    assert request_head.STATUS_LINES[status] == line


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"http://example.com/v1/models?x=1", b"/v1/models?x=1"),
        (b"HTTPS://example.com:8000/health", b"/health"),
        (b"http://example.com", b"/"),
        (b"http://example.com?x=1", b"/?x=1"),
        (b"http://example.com?next=/v1/models", b"/?next=/v1/models"),
        (b"http://example.com/v1/models?", b"/v1/models?"),
        (b"*", b"*"),
        (b"example.com:443", b"example.com:443"),
        (b"ftp://example.com/a", b"ftp://example.com/a"),
    ],
)
def test_an_absolute_target_is_read_as_path_and_query(target: bytes, path: bytes) -> None:
    assert request_head.origin_form(target) == path


def test_only_the_allowed_headers_pass_up() -> None:
    headers = {
        b"host": b"gate",
        b"accept-encoding": b"gzip, br",
        b"api-key": b"secret",
        b"authorization": b"Bearer secret",
        b"x-api-key": b"secret",
        b"cookie": b"a=b",
        b"x-forwarded-for": b"10.0.0.1",
        b"x-data-parallel-rank": b"1",
        b"content-type": b"application/json",
        b"traceparent": b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        b"x-request-timeout-ms": b"500",
    }
    assert request_head.headers_up(headers) == (
        b"accept-encoding: identity\r\ncontent-type: application/json\r\nx-request-timeout-ms: 500\r\n"
    )


@pytest.mark.parametrize("connection", [b"user-agent", b"keep-alive, User-Agent"])
def test_headers_that_the_client_names_in_connection_do_not_pass_up(connection: bytes) -> None:
    headers = {b"connection": connection, b"user-agent": b"curl", b"accept": b"*/*"}
    assert request_head.headers_up(headers) == b"accept-encoding: identity\r\naccept: */*\r\n"


@pytest.mark.parametrize(
    ("seconds", "lines"),
    [
        (1.0, b"retry-after: 1\r\nretry-after-ms: 1000\r\n"),
        (1.2, b"retry-after: 2\r\nretry-after-ms: 1200\r\n"),
        (0.0, b"retry-after: 1\r\nretry-after-ms: 1\r\n"),
    ],
)
def test_an_error_that_passes_says_when_to_come_again(seconds: float, lines: bytes) -> None:
    assert request_head.error_headers(Unavailable("full", retry_after=seconds)) == lines


def test_an_error_that_stays_does_not() -> None:
    assert request_head.error_headers(BadRequest("no")) == b""


def test_an_error_says_what_would_be_right() -> None:
    assert request_head.error_headers(InvalidKey("no")) == b"www-authenticate: Bearer\r\n"
    assert request_head.error_headers(UnsupportedCoding("no")) == b"accept-encoding: identity\r\n"


def test_an_engines_advice_goes_with_the_error() -> None:
    error = Unavailable("full", retry_after=1.0)
    error.headers = b"x-should-retry: false\r\n"
    lines = b"retry-after: 1\r\nretry-after-ms: 1000\r\nx-should-retry: false\r\n"
    assert request_head.error_headers(error) == lines


@pytest.mark.parametrize("name", [b"authorization", b"x-api-key", b"Api-Key"])
def test_a_key_must_come_only_once_in_each_header(name: bytes) -> None:
    with pytest.raises(MalformedHttp, match="must come only once"):
        request_head.fields([(name, b"a"), (name, b"b")], 10)


def test_a_wrong_method_is_told_the_right_ones() -> None:
    assert request_head.error_headers(MethodNotAllowed("no", allow="GET, POST")) == b"allow: GET, POST\r\n"


def test_an_engines_rate_limits_are_left_out_whatever_their_case() -> None:
    lines = b"a: x-ratelimit-b\r\nX-RateLimit-Limit-Tokens: 5\r\nx-ratelimit-reset-tokens: 1s\r\nretry-after: 1\r\n"
    lines += b"Anthropic-RateLimit-Tokens-Limit: 5\r\nanthropic-ratelimit-tokens-remaining: 1\r\n"
    assert request_head.without_rate_limits(lines) == b"a: x-ratelimit-b\r\nretry-after: 1\r\n"
