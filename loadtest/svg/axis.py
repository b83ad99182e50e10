"""Where values lie along one axis of a chart, and which of them are written beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

_SPREAD = 20.0
_MOST_TICKS = 10
_ROUNDING = 1e-7


@dataclass(frozen=True, slots=True)
class Axis:
    """The values from ``low`` to ``high``, drawn from ``start`` to ``end`` in the picture's units."""

    low: float
    high: float
    start: float
    end: float
    ticks: Sequence[float]
    logarithmic: bool = False

    @classmethod
    def linear(cls, low: float, high: float, start: float, end: float) -> Axis:
        """Cover ``low`` to ``high`` with round ticks; from zero, unless all values lie in the upper half."""
        high = max(high, 1e-9)
        base = low if low > high / 2 else 0.0
        step = _round_step(max(high - base, high / 100) / 5)
        first, last = floor(base / step + _ROUNDING), ceil(high / step - _ROUNDING)
        ticks = [number * step for number in range(first, max(last, first + 1) + 1)]
        return cls(ticks[0], ticks[-1], start, end, ticks)

    @classmethod
    def log(cls, low: float, high: float, start: float, end: float) -> Axis:
        """Cover ``low`` to ``high``, both positive, with a tenfold of the one as long as a tenfold of the other."""
        decades = range(floor(log10(low)), ceil(log10(high)) + 1)
        rounds = [digit * 10.0**decade for decade in decades for digit in (1, 2, 5)]
        below = max(each for each in rounds if each <= low * (1 + _ROUNDING))
        ticks = [each for each in rounds if below <= each <= high]
        return cls(below, high, start, end, ticks if len(ticks) < _MOST_TICKS else ticks[::3], logarithmic=True)

    def place(self, value: float) -> float:
        """Return a value's place in the picture."""
        if self.logarithmic:
            share = (log10(value) - log10(self.low)) / ((log10(self.high) - log10(self.low)) or 1.0)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 2)


def is_spread(values: Sequence[float]) -> bool:
    """Tell whether the largest value dwarfs the median, so that only a logarithmic axis shows both."""
    ordered = sorted(values)
    return ordered[0] > 0 and ordered[-1] > _SPREAD * ordered[len(ordered) // 2]


def _round_step(rough: float) -> float:
    """Round up to 1, 2 or 5 times a power of ten."""
    scale = 10.0 ** floor(log10(rough))
    return next(factor * scale for factor in (1, 2, 5, 10) if factor * scale >= rough * (1 - _ROUNDING))
