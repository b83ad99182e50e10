"""Holds requests to the limits of their keys, and tells clients in headers what is left of them.

The headers are OpenAI's, and Anthropic's besides for its endpoints: of requests and of tokens, that limit is told of
which the least is left.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from math import ceil
from time import perf_counter, time

from gateway.core.context import RequestContext
from gateway.core.limits import KeyLimits, Left, Reservation, whole_duration
from gateway.core.sliding_window import NANOSECONDS
from gateway.pools.model import Model

_BYTES_PER_TOKEN = 4
"""How many bytes of a request's body are taken for one token; the engine tells the real number at the end."""

_GENERATED = 256
"""How many tokens are reserved for what a request may generate that does not say how much."""

_CLIENT_LEFT = 499


def reserve(
    context: RequestContext,
    limits: KeyLimits,
    model: Model,
    *,
    task: str | None,
    prompt_bytes: int,
    max_tokens: int,
    anthropic: bool,
) -> None:
    """Count a request in its key's limits, and write what is left into its response's headers.

    ``max_tokens`` is the most that it may generate over all of its choices, 0 if it does not say; ``anthropic`` asks
    for Anthropic's headers too. Raises ``LimitExceeded``.
    """
    prompt = 0 if task is None else -(-prompt_bytes // _BYTES_PER_TOKEN)
    generated = 0 if task != "generate" else max_tokens or _GENERATED
    longest = model.max_model_len
    if longest is not None and prompt > longest:
        # No prompt is longer. Images make bodies long that are no long prompts.
        prompt = longest
    now = int(perf_counter() * NANOSECONDS)
    context.reservation, left = limits.admit(prompt, generated, now)
    context.response_headers += _headers(left, now, anthropic=anthropic)


def settle(context: RequestContext, reservation: Reservation, now: float) -> None:
    """Count what a request has used in the place of what it reserved; ``now`` is a ``perf_counter`` reading.

    Where an engine was at work and has not told the usage, as when a client leaves early, the estimate stands for the
    prompt, and what has been generated until then is counted.
    """
    prompt, generated = context.input_tokens, context.output_tokens
    if not prompt and context.replica and (context.status < 400 or context.status == _CLIENT_LEFT):
        prompt = reservation.prompt
    reservation.limits.settle(reservation, prompt + generated, int(now * NANOSECONDS))


def headers_now(limits: KeyLimits, *, anthropic: bool) -> bytes:
    """Write what is left at this moment, for a response that has reserved nothing."""
    now = int(perf_counter() * NANOSECONDS)
    return _headers(limits.left(now), now, anthropic=anthropic)


def _headers(left: Iterable[Left], now: int, *, anthropic: bool) -> bytes:
    """Write the headers of that rate of requests and that of tokens of which the least is left, where there are any."""
    requests: Left | None = None
    tokens: Left | None = None
    for one in left:
        if one[1].per_request:
            if requests is None or one[0] < requests[0]:
                requests = one
        elif tokens is None or one[0] < tokens[0]:
            tokens = one
    lines = b""
    for least in (requests, tokens):
        if least is not None:
            number, rate = least
            reset = rate.window.reset(now)
            lines += rate.headers % (number, _duration(-(-reset // NANOSECONDS)))
            if anthropic:
                lines += rate.anthropic_headers % (number, _moment(time() + reset / NANOSECONDS))
    return lines


# What was written before takes no Python call, and the windows of a minute have no more than 120 such times.
@lru_cache(maxsize=4096)
def _duration(seconds: int) -> bytes:
    return whole_duration(seconds).encode()


def _moment(seconds: float) -> bytes:
    """Write a moment, in seconds since 1970, as Anthropic's headers have it (RFC 3339, in UTC); rounded up."""
    return f"{datetime.fromtimestamp(ceil(seconds), UTC):%Y-%m-%dT%H:%M:%SZ}".encode()
