"""How many lines of batches may run at once for one pool: a congestion window that yields to interactive requests.

The window is that of a background transport. It grows as TCP's does (RFC 5681): doubled each round until the first
sign of load, then by at most one a round; and it is halved at once where interactive requests have to wait or an engine
is full. Before that it feels its way by delay, as LEDBAT does (RFC 6817): how much longer than on an idle engine lines
take is held to a target, so that engines whose limit nobody has configured are not filled until something breaks.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

IDLE_TARGET = 1.0
"""The extra delay that lines may have among themselves: engines that batch get most of their throughput within it."""

BUSY_TARGET = 0.1
"""The extra delay while interactive requests are there, whose tokens are delayed as much as the lines'."""

_MOST_LOWERED = 0.5
"""A window is never less than this share of what it was a round ago."""


class Round(NamedTuple):
    """What was seen while as many lines ended as the window is wide."""

    waits: bool
    """Whether an interactive request had to wait for a slot."""
    refused: bool
    """Whether a line was refused because an engine or the gateway was full."""
    delay: float | None
    """How much longer than on an idle engine a line took for each token, as a share; ``None``: not known yet."""
    busy: bool
    """Whether interactive requests were under way."""
    filled: bool
    """Whether as many lines were under way as the window allowed."""


class Window(NamedTuple):
    """How many lines may be under way, and up to which number that is doubled each round."""

    size: float = 1.0
    threshold: float = inf


def next_window(window: Window, seen: Round, most: int) -> Window:
    """Give the window after a round, from 1 to ``most``."""
    size, threshold = window
    if seen.waits or seen.refused:
        return _lowered(size, _MOST_LOWERED)
    target = BUSY_TARGET if seen.busy else IDLE_TARGET
    off = 0.0 if seen.delay is None else (target - seen.delay) / target
    if off < 0:
        return _lowered(size, max(_MOST_LOWERED, 1 + off / 2))
    if not seen.filled:
        return window
    if seen.delay is None or (size < threshold and off > 0.5):
        return Window(min(2 * size, most, max(threshold, size + 1)), threshold)
    return Window(min(size + off, most), min(threshold, size))


def _lowered(size: float, share: float) -> Window:
    smaller = max(1.0, size * share)
    return Window(smaller, smaller)
