"""Bytes of HTTP/1.1 heads: what may cross the gateway, and how a response's first lines are written."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from email.utils import formatdate
from http import HTTPStatus
from math import ceil

from gateway.core.errors import GatewayError, HeadTooLarge, MalformedHttp

STATUS_LINES: Mapping[int, bytes] = {
    **{status: b"HTTP/1.1 %d \r\n" % status for status in range(100, 1000)},
    **{status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus},
}
"""The first line of a response, by status of three digits; one that Python does not name has an empty phrase."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Headers of one connection, which no proxy passes on (RFC 9110, section 7.6.1)."""

HARMLESS_IN_CONNECTION = HOP_BY_HOP | {b"close"}
"""What ``connection`` may name without any other header being left out for it."""

UNCODED = frozenset({b"identity", b""})
"""The values of ``content-encoding`` that say that a body is not compressed; any case will do."""

_PASSED_UP = (
    b"accept",
    b"anthropic-beta",
    b"anthropic-version",
    b"content-type",
    b"user-agent",
    b"x-request-timeout-ms",
)

SINGLETONS = frozenset(
    {
        b"api-key",
        b"authorization",
        b"content-length",
        b"content-type",
        b"expect",
        b"host",
        b"transfer-encoding",
        b"x-api-key",
        b"x-request-id",
    }
)
"""Request headers that mean nothing, or something dangerous, when they come twice."""

_RATE_LIMITS = (b"x-ratelimit-", b"anthropic-ratelimit-")
"""How the names of headers begin that tell of limits: OpenAI's and Anthropic's."""

_ABSOLUTE_FORM = re.compile(rb"https?://[^/?]*", re.IGNORECASE)
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}\Z")


class RequestIds:
    """Gives each request its id: the client's own where it is well formed, else a fresh one.

    A fresh id is a random prefix of this process and a running number, which costs a tenth of a random UUID and is just
    as unique.
    """

    def __init__(self) -> None:
        self._prefix = f"req-{secrets.token_hex(6)}-"
        self._number = 0

    def __repr__(self) -> str:
        return f"<RequestIds {self._prefix!r} [{self._number} given]>"

    def fresh(self) -> str:
        """Give a new id."""
        self._number += 1
        return f"{self._prefix}{self._number}"

    def choose(self, offered: bytes | None) -> str:
        """Return ``offered`` if it is a well-formed id, else a new id."""
        if offered is not None and _REQUEST_ID.match(offered):
            return offered.decode("ascii")
        return self.fresh()


def fields(lines: Sequence[tuple[bytes, bytes]], limit: int) -> dict[bytes, bytes]:
    """Give the values of a head's lines by lower-case name; what may come more than once is joined by commas.

    Raises ``HeadTooLarge`` for more than ``limit`` lines, ``MalformedHttp`` for a singleton that comes twice.
    """
    if len(lines) > limit:
        raise HeadTooLarge(f"More than {limit} headers.")
    found: dict[bytes, bytes] = {}
    for name, value in lines:
        name = name.lower()
        if name in found:
            if name in SINGLETONS:
                raise MalformedHttp(f"The header {name.decode('ascii')} must come only once.")
            value = found[name] + b", " + value
        found[name] = value.rstrip(b" \t")
    return found


def origin_form(target: bytes) -> bytes:
    """Give the path and query of a request target that names its host too (RFC 9112, section 3.2.2).

    The host ends at a slash or at a question mark, behind which stands a query without a path (RFC 3986, section 3.2).
    """
    absolute = _ABSOLUTE_FORM.match(target)
    if absolute is None:
        return target
    rest = target[absolute.end() :]
    return rest if rest.startswith(b"/") else b"/" + rest


def headers_up(headers: Mapping[bytes, bytes]) -> bytes:
    """Write those of a client's headers that an engine may see: an allow-list, without credentials or addresses.

    A response is asked for without compression: streams and usage are read on their way (RFC 9110, section 12.5.3).
    """
    connection = headers.get(b"connection")
    if connection is not None and not (named := tokens(connection)) <= HARMLESS_IN_CONNECTION:
        return headers_up({name: value for name, value in headers.items() if name not in named | {b"connection"}})
    lines = b"accept-encoding: identity\r\n"
    for name in _PASSED_UP:
        if name in headers:
            lines += b"%b: %b\r\n" % (name, headers[name])
    return lines


def tokens(value: bytes) -> set[bytes]:
    """Split a header's value at its commas, in lower case."""
    return {token.strip().lower() for token in value.split(b",")}


def date_line() -> bytes:
    """Write the header of the moment at which a response of the gateway itself begins (RFC 9110, section 6.6.1)."""
    return b"date: %b\r\n" % formatdate(usegmt=True).encode("ascii")


def error_headers(error: GatewayError) -> bytes:
    """Write the headers that tell a client what to do about ``error``."""
    if error.retry_after is None:
        return error.headers
    milliseconds = max(1, ceil(error.retry_after * 1000))
    return b"retry-after: %d\r\nretry-after-ms: %d\r\n%b" % (ceil(milliseconds / 1000), milliseconds, error.headers)


def without_rate_limits(lines: bytes) -> bytes:
    """Leave out of header lines what an engine says of its own limits, where those of the client's key are told."""
    kept = [line for line in lines.splitlines(keepends=True) if not line.lower().startswith(_RATE_LIMITS)]
    return b"".join(kept)
