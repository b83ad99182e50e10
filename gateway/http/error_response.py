"""An engine's error response: what it says, and its advice about limits and about trying again."""

from __future__ import annotations

import math
import zlib
from datetime import UTC
from email.utils import parsedate_to_datetime
from time import time

from gateway.core.engine_error import from_response
from gateway.core.errors import GatewayError, Retry, UpstreamFailed
from gateway.http.request_head import UNCODED, tokens
from gateway.http.response_head import ResponseHead

LONGEST_WAIT = 86_400.0
"""Seconds; no client is told to stay away for longer, even if an engine says so."""

_MAX_INFLATED_BYTES = 256 * 1024
"""How much of a compressed error is read."""

_INFLATED = frozenset({b"gzip", b"x-gzip", b"deflate"})

_ADVICE = (b"x-should-retry", b"x-ratelimit-", b"anthropic-ratelimit-", b"ratelimit")
"""How the names of headers begin that tell a client about limits and retries: OpenAI's, Anthropic's, and those of the
IETF's draft."""


def read_error(head: ResponseHead, body: bytes) -> GatewayError:
    """Turn an engine's error response into the error that its client gets, with the engine's advice.

    ``body`` may be cut short. ``retry_after`` stays ``None`` where the engine does not say when to come back.
    """
    error: GatewayError
    if head.status < 400:
        error = UpstreamFailed(f"The engine answered with a redirect ({head.status}), which is never followed.")
        error.retry = Retry.NO
    else:
        error = from_response(head.status, _inflated(head, body))
    add_advice(error, head)
    return error


def add_advice(error: GatewayError, head: ResponseHead) -> None:
    """Give an error what the head of the engine's response says about limits, and about when to come back."""
    lines = [(name.lower(), value) for name, value in head.lines]
    error.headers = b"".join([b"%b: %b\r\n" % line for line in lines if line[0].startswith(_ADVICE)])
    error.retry_after = retry_after(head)


def retry_after(head: ResponseHead) -> float | None:
    """Tell in how many seconds a client may come back; ``None`` if the head does not say it in a way that is known.

    ``retry-after-ms`` is the more exact one where both are there. ``retry-after`` may be a date, by the clock of this
    machine (RFC 9110, section 10.2.3), or a fraction, which some engines send.
    """
    milliseconds = _number(head.first(b"retry-after-ms"))
    if milliseconds is not None:
        return min(milliseconds / 1000, LONGEST_WAIT)
    said = head.first(b"retry-after")
    if said is None:
        return None
    seconds = _number(said)
    if seconds is None:
        seconds = _seconds_until(said)
    return None if seconds is None else min(seconds, LONGEST_WAIT)


def _seconds_until(date: bytes) -> float | None:
    """Tell how far in the future a date is; ``None`` if it is none. All dates of HTTP are in UTC."""
    try:
        moment = parsedate_to_datetime(date.decode("latin-1"))
        return max(0.0, (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - time())
    except (ValueError, OverflowError):
        return None


def _number(value: bytes | None) -> float | None:
    """Read a number that is not negative; ``None`` for anything else."""
    try:
        number = float(value or b"")
    except ValueError:
        return None
    return number if number >= 0 and not math.isnan(number) else None


def _inflated(head: ResponseHead, body: bytes) -> bytes:
    """Undo the compression that the engine was asked not to use; nothing is left of one that is not known."""
    codings = tokens(head.first(b"content-encoding") or b"") - UNCODED
    if not codings:
        return body
    if not codings <= _INFLATED:
        return b""
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, _MAX_INFLATED_BYTES)
    except zlib.error:
        return b""
