"""One turn: so many streams at once for some seconds, and what is concluded from the part in which all of them run."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import ceil
from time import perf_counter
from typing import Any

from loadtest import workload
from loadtest.bench.gpu.engine import Compared
from loadtest.load import Load
from loadtest.record import Record
from loadtest.summary import percentile
from loadtest.workload import Request

_SLACK = 1.5
"""The first requests end after so many times the time of a response at the latest."""

_TRIES = 3
"""How often a turn is tried, each time twice as long, whose streams did not all run at the same time."""

_WAVES, _FEWEST = 2, 8
"""Each stream has at least so many whole responses while all of them run, and all together so many."""


class NothingMeasured(Exception):
    """No response came while all streams ran; the message says what came instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Tokens of each prompt and of each response."""

    prompt: int
    response: int


def requests(model: str, streams: int, number: int, lengths: Lengths, *, stream: bool) -> list[Request]:
    """Make ``number`` requests for so many streams, whose prompts differ.

    The first of each stream is for a part of a response, each stream's for another: so they do not end all at once and
    begin again all at once, for ever, which would make waves of prompts.
    """
    parts = [ceil(lengths.response * (place + 1) / streams) for place in range(streams)]
    tokens = parts + [lengths.response] * (number - streams)
    return [
        workload.chat(model, workload.text(lengths.prompt, f"gpu {place}"), each, stream=stream)
        for place, each in enumerate(tokens)
    ]


def seconds_for(streams: int, response: float, least: float) -> float:
    """Say how long a turn lasts, where a whole response takes ``response`` seconds.

    ``least`` is the least time in which all streams run.
    """
    return _SLACK * response + max(least, _WAVES * response, _FEWEST * response / streams)


async def idle_cores(target: Compared, seconds: float) -> float:
    """Return how much of a core the gateway uses without requests: its ticker, and the health checks of its replica."""
    used, began = target.gateway_cpu_seconds, perf_counter()
    await asyncio.sleep(seconds)
    return (target.gateway_cpu_seconds - used) / (perf_counter() - began)


async def whole_response(target: Compared, asked: Sequence[Request], *, direct: bool) -> float:
    """Send some requests at once, as a warm-up, and return how long the slowest response took in seconds."""
    load = _load(target, direct=direct)
    try:
        await load.open_loop(asked, [0.0] * len(asked))
    finally:
        load.close()
    _check(load.records)
    return max(record.e2e or 0.0 for record in load.records)


async def turn(
    target: Compared, asked: Sequence[Request], streams: int, seconds: float, *, direct: bool, idle_cores: float = 0.0
) -> dict[str, Any]:
    """Let so many streams each send one request after the other. Raises ``NothingMeasured``.

    ``cores_per_10k`` are the gateway's cores for 10,000 tokens per second, without those that it uses when it is idle.
    """
    for doubled in range(_TRIES):
        load = _load(target, direct=direct)
        used = target.gateway_cpu_seconds
        try:
            await load.closed_loop(asked, streams, seconds * 2**doubled)
        finally:
            load.close()
        found = figures(load.records, streams)
        if found is not None:
            break
    else:
        raise NothingMeasured("turns were over before all streams had begun; --seconds has to be more")
    found["client_cores"] = load.cpu_seconds / load.now
    if not direct:
        used = target.gateway_cpu_seconds - used
        tokens = sum(record.tokens_out for record in load.records)
        busy = max(0.0, used - idle_cores * load.now)
        found |= {"cpu_seconds": used, "cores": used / load.now, "cores_per_10k": 10_000 * busy / tokens}
    return found


def figures(records: Sequence[Record], streams: int) -> dict[str, Any] | None:
    """Conclude from the records of a turn, in the order in which they were sent: the first ones begin a stream each.

    All streams run from the end of the last of these first responses until the last request is sent. Tokens count that
    came between the two moments; a response that is no stream is taken to have come evenly. Latencies, in milliseconds,
    are those of the requests that were sent then. Returns ``None`` if there was no such time: the first responses took
    longer than was expected. Raises ``NothingMeasured`` if no request was answered.
    """
    _check(records)
    begin = max(record.ended or 0.0 for record in records[:streams])
    end = max(record.sent or 0.0 for record in records)
    counted = [record for record in records[streams:] if record.succeeded and begin <= (record.sent or 0.0) <= end]
    tokens = sum(_tokens_between(record, begin, end) for record in records if record.succeeded)
    if end <= begin or not counted or not tokens:
        return None
    found = {
        "tokens_per_second": tokens / (end - begin),
        "responses": len(counted),
        "failed": sum(record.error is not None for record in records),
    }
    for name in ("ttft", "tpot", "e2e"):
        values = [1000 * value for record in counted if (value := getattr(record, name)) is not None]
        if values:
            found |= {f"{name}_p{percent}_ms": percentile(values, percent) for percent in (50, 99)}
    return found


def _tokens_between(record: Record, begin: float, end: float) -> float:
    """Return how many tokens of a good response came after ``begin`` and until ``end``."""
    assert record.sent is not None
    assert record.last is not None
    if record.first is None:
        overlap = min(end, record.last) - max(begin, record.sent)
        return record.tokens_out * max(0.0, overlap) / (record.last - record.sent)
    moments = list(accumulate(record.gaps, initial=record.first))
    return record.tokens_out * sum(begin < moment <= end for moment in moments) / len(moments)


def _check(records: Sequence[Record]) -> None:
    """Raise ``NothingMeasured`` with what the first failure says, where every request failed."""
    if not any(record.succeeded for record in records):
        first = next((record for record in records if record.error is not None), None)
        why = "none was sent" if first is None else f"{first.error} {first.detail}".strip()
        raise NothingMeasured(f"no request was answered: {why}")


def _load(target: Compared, *, direct: bool) -> Load:
    return Load(target.direct) if direct else Load(target.gateway, key=target.key)
