"""Where an engine is full: beyond so many streams, more of them wait for each other and bring hardly more tokens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

GROWTH = 1.1
"""Twice the streams have to bring so many times the tokens, or the engine is full."""


@dataclass(frozen=True, slots=True)
class Knee:
    """The most streams whose number was worth doubling up to; ``full`` is false where that was the most that was tried.

    ``tokens_per_second`` is what was measured, by the number of streams.
    """

    streams: int
    full: bool
    tokens_per_second: dict[int, float]


async def find_knee(measure: Callable[[int], Awaitable[float]], start: int, most: int) -> Knee:
    """Double the streams until that no longer brings a tenth more tokens, or there would be more than ``most``.

    ``measure`` returns tokens per second for a number of streams.
    """
    streams = start
    found = {streams: await measure(streams)}
    while 2 * streams <= most:
        found[2 * streams] = await measure(2 * streams)
        if found[2 * streams] < GROWTH * found[streams]:
            return Knee(streams, True, found)
        streams *= 2
    return Knee(streams, False, found)
