"""Addresses are read, and what is none is refused."""

from __future__ import annotations

import pytest

from gateway.http.address import Address, is_ip


@pytest.mark.parametrize(
    ("url", "host", "port", "prefix", "host_header"),
    [
        ("http://engine:8000", "engine", 8000, b"", b"engine:8000"),
        ("http://engine", "engine", 80, b"", b"engine"),
        ("https://api.example.com/v1", "api.example.com", 443, b"", b"api.example.com"),
        ("https://api.example.com/inference/v1/", "api.example.com", 443, b"/inference", b"api.example.com"),
        ("http://[::1]:8000", "::1", 8000, b"", b"[::1]:8000"),
    ],
)
def test_an_address_is_read(url: str, host: str, port: int, prefix: bytes, host_header: bytes) -> None:
    address = Address.parse(url)
    assert (address.host, address.port, address.prefix, address.host_header) == (host, port, prefix, host_header)


@pytest.mark.parametrize("url", ["unix:/run/x.sock", "unix:///run/x.sock"])
def test_a_unix_address_is_read(url: str) -> None:
    assert (Address.parse(url).path, Address.parse(url).host_header) == ("/run/x.sock", b"localhost")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "engine:8000",
        "ftp://engine",
        "http://",
        "http:///v1",
        "http://:80",
        "http://a..b",
        "http://engine:",
        "http://engine:port",
        "http://engine:0",
        "http://engine:65536",
        "http://engine:-1",
        "http://engine:0x1",
        "http://engine:1:2",
        "http://[::1",
        "http://[::1]x:1",
        "http://[:::]:1",
        "http://a b",
        "http://a\t",
        "http://engine/ä",
        "https://ü.example",
        "unix:",
        "unix:/a\0b",
    ],
)
def test_what_is_no_address_is_an_error_that_says_what_is_expected(url: str) -> None:
    with pytest.raises(ValueError, match=r"expected|no IPv6 address"):
        Address.parse(url)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://user:secret@engine:1", "'http://…@engine:1' holds credentials; .* in api_key_env"),
        ("https://secret@engine/v1", "'https://…@engine/v1' holds credentials"),
        ("http://engine/v1?key=secret", "'http://engine/v1…' has a query"),
        ("http://engine/v1#secret", "'http://engine/v1…' has a fragment"),
        ("http://engine?", "'http://engine…' has a query"),
        ("http://engine/?key=a@secret", "'http://…' has a query"),
        ("http://user:secret?x@engine", "'http://…' has a query"),
        ("http://user:secret/x@engine", "'http://…@engine' has no port"),
        ("user:secret@engine", "'…@engine' is not an address"),
        ("http://user:sec ret@engine", "'http://…@engine' has spaces"),
        ("http://user:secret@[::1", "'http://…@.*' is not an address"),
    ],
)
def test_credentials_queries_and_fragments_are_refused_and_never_shown(url: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as caught:
        Address.parse(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "versioned", "other"),
    [
        ("http://engine", b"/v1/chat/completions", b"/classify"),
        ("http://engine/", b"/v1/chat/completions", b"/classify"),
        ("http://engine/v1", b"/v1/chat/completions", b"/classify"),
        ("http://engine/inference/v1/", b"/inference/v1/chat/completions", b"/inference/classify"),
        ("http://engine/api/paas/v4", b"/api/paas/v4/chat/completions", b"/api/paas/v4/classify"),
        ("http://engine/v1/openai/", b"/v1/openai/chat/completions", b"/v1/openai/classify"),
        ("http://engine/api/v1beta", b"/api/v1beta/chat/completions", b"/api/v1beta/classify"),
        ("http://engine/@team/v1", b"/@team/v1/chat/completions", b"/@team/classify"),
        ("unix:/s", b"/v1/chat/completions", b"/classify"),
    ],
)
def test_a_base_path_that_does_not_end_in_v1_stands_in_its_place(url: str, versioned: bytes, other: bytes) -> None:
    address = Address.parse(url)
    assert address.target(b"/v1/chat/completions") == versioned
    assert address.target(b"/classify") == other


@pytest.mark.parametrize(
    ("host", "expected"), [("127.0.0.1", True), ("::1", True), ("localhost", False), ("10.0.0", False), ("", False)]
)
def test_a_host_is_an_ip_address_or_a_name(host: str, expected: bool) -> None:
    assert is_ip(host) is expected
