"""When requests are sent: moments in seconds from the start, all drawn before the first one goes out.

An open-loop test sends at these moments whatever the responses do. A client that waits for responses slows down
together with the server and hides its worst times ("coordinated omission", Gil Tene).
"""

from __future__ import annotations

import random
from collections.abc import Sequence


def poisson(rate: float, seconds: float, seed: int) -> list[float]:
    """Draw independent arrivals, ``rate`` per second: the gaps are exponentially distributed.

    They are exactly ``rate * seconds``, rounded, so that a test puts on the load that it names: given their number, the
    arrivals of a Poisson process are independent and uniform (Kingman, Poisson Processes, 2.4).
    """
    draw = random.Random(seed)  # noqa: S311 - a reproducible load, nothing secret
    return sorted(draw.uniform(0.0, seconds) for _ in range(round(rate * seconds)))


def constant(rate: float, seconds: float) -> list[float]:
    """Give evenly spaced arrivals, ``rate`` per second."""
    return [number / rate for number in range(round(rate * seconds))]


def rescaled(moments: Sequence[float], scale: float) -> list[float]:
    """Stretch (``scale`` > 1) or squeeze (< 1) the time between recorded arrivals; the first one becomes 0."""
    return [(moment - moments[0]) * scale for moment in moments]
