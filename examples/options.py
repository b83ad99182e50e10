"""Checks of options on a command line, for ``argparse``: each says what was expected."""

from __future__ import annotations

from argparse import ArgumentTypeError

import httpx


def address(text: str) -> str:
    """Check ``HOST:PORT``."""
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isdecimal() and int(port) < 65_536):
        raise ArgumentTypeError(f"expected HOST:PORT, not {text!r}")
    return text


def positive(text: str) -> float:
    """Check a number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ArgumentTypeError(f"expected a number above 0, not {text!r}")
    return number


def whole(text: str) -> int:
    """Check a whole number from 1 on."""
    if not (text.isdecimal() and int(text) > 0):
        raise ArgumentTypeError(f"expected a whole number from 1 on, not {text!r}")
    return int(text)


def web_address(text: str) -> str:
    """Check a URL of HTTP."""
    try:
        if httpx.URL(text).scheme in {"http", "https"} and httpx.URL(text).host:
            return text
    except httpx.InvalidURL:
        pass
    raise ArgumentTypeError(f"expected http://HOST/PATH or https://HOST/PATH, not {text!r}")
