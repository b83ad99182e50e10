"""Addresses are read, and what is none is refused."""

from __future__ import annotations

import pytest

from gateway.http.address import Address


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
    "url", ["", "engine:8000", "ftp://engine", "http://", "unix:", "http://engine:port", "http://a b"]
)
def test_what_is_no_address_is_an_error(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - one of them is urllib's
        Address.parse(url)
