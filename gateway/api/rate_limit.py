"""Holds requests to the limits of their keys, and tells clients in headers what is left of them.

The headers are OpenAI's, and Anthropic's besides for its endpoints: of requests and of tokens, that limit is told of
which the least is left.
"""

from __future__ import annotations

from datetime import UTC, datetime
from math import ceil
from operator import itemgetter
from time import perf_counter_ns, time

from gateway.core.context import RequestContext
from gateway.core.limits import KeyLimits, Left, Reservation
from gateway.core.prompt_tokens import BYTES_PER_TOKEN, MEDIA_TOKENS, tokens_in
from gateway.core.sliding_window import NANOSECONDS
from gateway.pools.model import Model

_GENERATED = 256
"""How many tokens are reserved for what a request may generate that does not say how much."""

_CLIENT_LEFT = 499

_LEFT = itemgetter(0)


def reserve(
    context: RequestContext,
    limits: KeyLimits,
    model: Model,
    task: str | None,
    body: bytes,
    max_tokens: int,
    *,
    anthropic: bool,
) -> None:
    """Count a request in its key's limits, and write what is left into its response's headers.

    ``max_tokens`` is the most that it may generate over all of its choices and prompts, 0 if it does not say;
    ``anthropic`` asks for Anthropic's headers too. Raises ``LimitExceeded``.
    """
    prompt = 0 if task is None else len(body) // BYTES_PER_TOKEN
    if prompt > MEDIA_TOKENS:
        # One call more only where it changes something.
        prompt = tokens_in(body)
    generated = 0 if task != "generate" else max_tokens or _GENERATED
    longest = model.max_model_len
    if longest is not None and prompt > longest:
        # No prompt is longer.
        prompt = longest
    now = perf_counter_ns()
    context.reservation, requests, tokens = limits.admit(prompt, generated, now)
    context.response_headers += _headers(requests, tokens, now, anthropic=anthropic)


def settle(context: RequestContext, reservation: Reservation) -> None:
    """Count what a request has used in the place of what it reserved.

    Where an engine was at work and has not told the usage, as when a client leaves early, the estimate stands for the
    prompt, and what has been generated until then is counted.
    """
    prompt, generated = context.input_tokens, context.output_tokens
    if not prompt and context.replica and (context.status < 400 or context.status == _CLIENT_LEFT):
        prompt = reservation.prompt
    reservation.limits.settle(reservation, prompt + generated, perf_counter_ns())


def headers_now(limits: KeyLimits, *, anthropic: bool) -> bytes:
    """Write what is left at this moment, for a response that has reserved nothing."""
    now = perf_counter_ns()
    left = limits.left(now)
    requests = min((each for each in left if each[1].per_request), key=_LEFT, default=None)
    tokens = min((each for each in left if not each[1].per_request), key=_LEFT, default=None)
    return _headers(requests, tokens, now, anthropic=anthropic)


def _headers(requests: Left | None, tokens: Left | None, now: int, *, anthropic: bool) -> bytes:
    """Write the headers of the rate of requests and of that of tokens of which the least is left."""
    lines = b""
    if requests is not None:
        lines = requests[1].lines(requests[0], now)
    if tokens is not None:
        lines += tokens[1].lines(tokens[0], now)
    return lines + _anthropic_headers(requests, tokens, now) if anthropic else lines


def _anthropic_headers(requests: Left | None, tokens: Left | None, now: int) -> bytes:
    lines = b""
    for least in (requests, tokens):
        if least is not None:
            left, rate = least
            lines += rate.anthropic_headers % (left, _moment(time() + rate.window.reset(now) / NANOSECONDS))
    return lines


def _moment(seconds: float) -> bytes:
    """Write a moment, in seconds since 1970, as Anthropic's headers have it (RFC 3339, in UTC); rounded up."""
    return f"{datetime.fromtimestamp(ceil(seconds), UTC):%Y-%m-%dT%H:%M:%SZ}".encode()
