"""What is asked of an engine to learn its costs: prompts of token ids, so that their lengths are exact."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from statistics import median

import msgspec

from loadtest import arrivals
from loadtest.load import Load
from loadtest.record import Record
from loadtest.simulator.calibration.fit import Point, first_token, gap
from loadtest.workload import Request

_VOCABULARY = range(1000, 20_000)
"""Token ids that prompts are drawn from, so that no prefix cache has them."""

_PRODUCED = 32
"""Tokens of each response of a wave."""

_REPEATS = 3

_PATIENCE = 300.0
"""Seconds that requests which are sent at once may take."""

_PREFIX = 256
"""Tokens at the beginning of every other prompt of a mix, so that a prefix cache has something to find."""


async def measure(
    url: str,
    model: str,
    *,
    prompts: Sequence[int],
    waves: Sequence[tuple[int, int]],
    tell: Callable[[str], None],
) -> list[Point]:
    """Measure single requests with these prompt lengths, and waves of (requests at once, prompt length).

    Each is the median of three. Raises ``RuntimeError`` if a request fails.
    """
    draw = random.Random(0)  # noqa: S311 - reproducible prompts, nothing secret
    load = Load(url)
    points: list[Point] = []
    try:
        await _wave(load, [_request(model, _drawn(draw, 16), 4)])
        for prompt in prompts:
            times = []
            for _ in range(_REPEATS):
                (record,) = await _wave(load, [_request(model, _drawn(draw, prompt), 2)])
                times.append(record.ttft or 0.0)
            points.append(first_token(prompt, median(times)))
            tell(f"{prompt} tokens alone: {median(times) * 1000:.1f} ms to the first token")
        for at_once, prompt in waves:
            gaps = []
            for _ in range(_REPEATS):
                records = await _wave(load, [_request(model, _drawn(draw, prompt), _PRODUCED) for _ in range(at_once)])
                # Before all have their first token, fewer run than were sent.
                begun = max(record.first or 0.0 for record in records)
                gaps.append(median(each for record in records for each in _gaps_after(record, begun)))
            points.append(gap(at_once, prompt, _PRODUCED, median(gaps)))
            tell(f"{at_once} of {prompt} tokens: {median(gaps) * 1000:.1f} ms between tokens")
    finally:
        load.close()
    return points


async def mixed(url: str, model: str, *, rate: float, seconds: float) -> list[Record]:
    """Send requests of many lengths at random moments, the same ones at each call, and return their records.

    Every other prompt begins with the same tokens. Raises ``RuntimeError`` if a request fails.
    """
    draw = random.Random(1)  # noqa: S311 - reproducible prompts, nothing secret
    prefix = _drawn(draw, _PREFIX)
    moments = arrivals.poisson(rate, seconds, 1)
    requests = [
        _request(model, prefix * (number % 2) + _drawn(draw, draw.randint(16, 160)), draw.randint(8, 48))
        for number in range(len(moments))
    ]
    load = Load(url)
    try:
        await _wave(load, [_request(model, _drawn(draw, 16), 4)])
        begin = len(load.records)
        await load.open_loop(requests, moments)
        return _succeeded(load.records[begin:])
    finally:
        load.close()


def _drawn(draw: random.Random, tokens: int) -> list[int]:
    return draw.choices(_VOCABULARY, k=tokens)


def _request(model: str, prompt: list[int], produced: int) -> Request:
    fields = {
        "model": model,
        "prompt": prompt,
        "max_tokens": produced,
        "ignore_eos": True,
        "temperature": 0.0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return Request("/v1/completions", msgspec.json.encode(fields))


async def _wave(load: Load, requests: Sequence[Request]) -> list[Record]:
    """Send all at once and return their records. Raises ``RuntimeError`` if any fails or takes too long."""
    before = len(load.records)
    try:
        async with asyncio.timeout(_PATIENCE):
            await load.open_loop(requests, [0.0] * len(requests))
    except TimeoutError as error:
        raise RuntimeError(f"{len(requests)} requests at once were not answered within {_PATIENCE:g} s") from error
    return _succeeded(load.records[before:])


def _succeeded(records: list[Record]) -> list[Record]:
    for record in records:
        if not record.succeeded:
            raise RuntimeError(f"a request failed: {record.error}")
    return records


def _gaps_after(record: Record, moment: float) -> list[float]:
    """Return the gaps between tokens that begin at a moment or after it."""
    at = record.first or 0.0
    found = []
    for each in record.gaps:
        if at >= moment:
            found.append(each)
        at += each
    return found
