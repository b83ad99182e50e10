"""A day in two hours: requests whose rate rises and falls once, with the lengths of a recorded trace."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from loadtest.traces import TraceRequest


def day(
    lengths: Sequence[TraceRequest],
    *,
    seconds: float = 7200.0,
    lowest: float = 0.3,
    highest: float = 12.0,
    seed: int = 1,
) -> list[TraceRequest]:
    """Make a Poisson process whose rate goes from ``lowest`` to ``highest`` requests a second and back, as a cosine.

    Made by thinning: moments at the highest rate, of which as many are kept as the rate then says.
    """
    chance = random.Random(seed)  # noqa: S311 - Repeatable traffic, no secret.
    made = []
    at = 0.0
    while (at := at + chance.expovariate(highest)) < seconds:
        rate = lowest + (highest - lowest) * (1 - math.cos(2 * math.pi * at / seconds)) / 2
        if chance.random() * highest < rate:
            like = chance.choice(lengths)
            made.append(TraceRequest(at, like.tokens_in, like.tokens_out))
    return made
