"""The strictest reading of HTTP/1.1 requests (RFC 9112), against which the gateway's own reading is held."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.http.request_head import SINGLETONS

_REQUEST_LINE = re.compile(rb"([A-Z-]+) +([!-~\x80-\xff]+) +HTTP/(1\.[01])\r\n")
"""Runs of spaces are a leniency that section 3 allows; so are the line ends before a request, below."""

_HEADER_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*\r\n")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]+)(?:;[\t\x20-\x7e\x80-\xff]*)?\r\n")
_DIGITS = re.compile(rb"[0-9]+")


class Unreadable(Exception):
    """From here on the bytes are not unambiguous HTTP, or they end too early."""


@dataclass(frozen=True)
class Request:
    """What a request says."""

    method: bytes
    target: bytes
    version: str
    headers: dict[bytes, bytes]
    body: bytes


def requests(data: bytes) -> list[Request]:
    """Read requests one after the other, as far as they are whole and unambiguous."""
    reader, found = _Reader(data), []
    try:
        while True:
            found.append(reader.request())
    except Unreadable:
        return found


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def request(self) -> Request:
        while self._data[self._at : self._at + 1] in (b"\r", b"\n"):
            self._at += 1
        method, target, version = self._line(_REQUEST_LINE).groups()
        headers = self._headers()
        if version == b"1.1" and b"host" not in headers:
            raise Unreadable("no host")
        # A CONNECT has no body (RFC 9110, section 9.3.6); nothing that follows it is a request.
        body = b"" if method == b"CONNECT" else self._body(version, headers)
        return Request(method, target, version.decode(), headers, body)

    def _headers(self) -> dict[bytes, bytes]:
        headers: dict[bytes, bytes] = {}
        while not self._data.startswith(b"\r\n", self._at):
            name, value = self._line(_HEADER_LINE).groups()
            name = name.lower()
            if name in headers and name in SINGLETONS:
                raise Unreadable("twice")
            headers[name] = (headers[name] + b", " + value).rstrip() if name in headers else value
        self._at += 2
        return headers

    def _body(self, version: bytes, headers: dict[bytes, bytes]) -> bytes:
        coding, length = headers.get(b"transfer-encoding"), headers.get(b"content-length")
        if coding is None:
            if length is not None and not _DIGITS.fullmatch(length):
                raise Unreadable("no length")
            return self._exactly(int(length or 0))
        if length is not None or coding.lower() != b"chunked" or version == b"1.0":
            raise Unreadable("ambiguous framing")
        parts = []
        while size := int(self._line(_CHUNK_LINE)[1], 16):
            parts.append(self._exactly(size))
            self._exactly_newline()
        while not self._data.startswith(b"\r\n", self._at):
            self._line(_HEADER_LINE)  # A trailer means nothing here, so it may come as often as it likes.
        self._at += 2
        return b"".join(parts)

    def _line(self, pattern: re.Pattern[bytes]) -> re.Match[bytes]:
        match = pattern.match(self._data, self._at)
        if match is None:
            raise Unreadable("no such line")
        self._at = match.end()
        return match

    def _exactly(self, size: int) -> bytes:
        if len(self._data) - self._at < size:
            raise Unreadable("too short")
        self._at += size
        return self._data[self._at - size : self._at]

    def _exactly_newline(self) -> None:
        if self._exactly(2) != b"\r\n":
            raise Unreadable("a chunk does not end")
