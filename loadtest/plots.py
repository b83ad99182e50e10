"""Line charts as SVG that stands in an HTML page: no script, and colours that the page's style decides.

A plotting library would be a large dependency for four charts, and its pictures would not follow a page into the dark.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

WIDTH, HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 26, 12, 44
_MOST_POINTS = 600
_LOG_FROM = 20.0
COLOURS = 8
"""How many colours the page's style has to define: the classes ``c0`` to ``c7``."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """One series. ``stepped``: a value holds until the next one; ``marked``: its points are measurements of their own.

    ``guide``: it is drawn thin and dashed, as what the others are compared with.
    """

    name: str
    points: Sequence[Point]
    stepped: bool = False
    marked: bool = False
    guide: bool = False


def cumulative(name: str, values: Sequence[float]) -> Line:
    """Show a distribution: which share of the values (0 to 1) is at most x."""
    ordered = sorted(values)
    last = len(ordered) - 1
    ranks = range(len(ordered))
    if len(ordered) > _MOST_POINTS:
        ranks = range(0, len(ordered), ceil(len(ordered) / _MOST_POINTS))
    points = [(ordered[rank], (rank + 1) / len(ordered)) for rank in ranks]
    if points[-1][1] < 1:
        points.append((ordered[last], 1.0))
    return Line(name, [(ordered[0], 0.0), *points], stepped=True)


def thinned(points: Sequence[Point]) -> list[Point]:
    """Keep of each stretch of a long series the highest value, so that no peak gets lost."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    stretch = ceil(len(points) / _MOST_POINTS)
    return [max(points[at : at + stretch], key=lambda point: point[1]) for at in range(0, len(points), stretch)]


def chart(title: str, lines: Sequence[Line], *, x: str, y: str, whole_share: bool = False, spread: bool = False) -> str:
    """Draw lines over ``x``; both axes are named with their units.

    ``whole_share``: the y axis is 0 to 100 %. ``spread``: x is logarithmic where the largest value dwarfs the median.
    """
    values = [point[0] for line in lines for point in line.points]
    heights = [point[1] for line in lines for point in line.points]
    logarithmic = spread and _is_spread(values)
    horizontal = _Axis.over(min(values), max(values), _LEFT, WIDTH - _RIGHT, logarithmic=logarithmic)
    top = 1.0 if whole_share else max(heights, default=1.0)
    vertical = _Axis.over(0.0, top, HEIGHT - _BOTTOM, _TOP)
    body = [*_grid(horizontal, vertical, whole_share=whole_share)]
    colour = 0
    legend = []
    for line in lines:
        style = "guide" if line.guide else f"c{colour % COLOURS}"
        colour += not line.guide
        body.append(_drawn(line, style, horizontal.place, vertical.place))
        legend.append(f'<li class="{style}">{escape(line.name)}</li>')
    body.append(f'<text class="name" x="{(_LEFT + WIDTH - _RIGHT) / 2}" y="{HEIGHT - 8}">{escape(x)}</text>')
    body.append(f'<text class="name" transform="translate(14 {HEIGHT / 2 - 16}) rotate(-90)">{escape(y)}</text>')
    return (
        f"<figure><figcaption>{escape(title)}</figcaption><ul>{''.join(legend)}</ul>"
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">{"".join(body)}</svg></figure>'
    )


@dataclass(frozen=True, slots=True)
class _Axis:
    """Where values lie between two ends of the picture, and which of them are written beside it."""

    low: float
    high: float
    start: float
    end: float
    ticks: Sequence[float]
    logarithmic: bool = False

    @classmethod
    def over(cls, low: float, high: float, start: float, end: float, *, logarithmic: bool = False) -> _Axis:
        """Cover ``low`` to ``high``; from zero, unless all values lie in the upper half or the axis is logarithmic."""
        if logarithmic:
            decades = range(floor(log10(low)), ceil(log10(high)) + 1)
            rounds = [digit * 10.0**decade for decade in decades for digit in (1, 2, 5)]
            below = max(each for each in rounds if each <= low * 1.0000001)
            ticks = [each for each in rounds if below <= each <= high]
            return cls(below, high, start, end, ticks if len(ticks) < 10 else ticks[::3], logarithmic=True)
        high = max(high, 1e-9)
        base = low if low > high / 2 else 0.0
        step = _round_step(max(high - base, high / 100) / 5)
        first, last = floor(base / step + 1e-9), ceil(high / step - 1e-9)
        ticks = [number * step for number in range(first, max(last, first + 1) + 1)]
        return cls(ticks[0], ticks[-1], start, end, ticks)

    def place(self, value: float) -> float:
        """Give a value's place in the picture."""
        if self.logarithmic:
            share = (log10(value) - log10(self.low)) / ((log10(self.high) - log10(self.low)) or 1.0)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 2)


def _grid(horizontal: _Axis, vertical: _Axis, *, whole_share: bool) -> list[str]:
    drawn = []
    for tick in vertical.ticks:
        at = vertical.place(tick)
        label = f"{tick:.0%}" if whole_share else f"{tick:.6g}"
        drawn.append(f'<path class="grid" d="M{_LEFT} {at}H{WIDTH - _RIGHT}"/>')
        drawn.append(f'<text class="y" x="{_LEFT - 7}" y="{at + 4}">{label}</text>')
    for tick in horizontal.ticks:
        at = horizontal.place(tick)
        drawn.append(f'<path class="grid" d="M{at} {_TOP}V{HEIGHT - _BOTTOM}"/>')
        drawn.append(f'<text class="x" x="{at}" y="{HEIGHT - _BOTTOM + 17}">{tick:.6g}</text>')
    return drawn


def _drawn(line: Line, style: str, x: Callable[[float], float], y: Callable[[float], float]) -> str:
    moves: list[str] = []
    for at, height in line.points:
        if not moves:
            moves.append(f"M{x(at)} {y(height)}")
        elif line.stepped:
            moves.append(f"H{x(at)}V{y(height)}")
        else:
            moves.append(f"L{x(at)} {y(height)}")
    drawn = f'<path class="line {style}" d="{"".join(moves)}"><title>{escape(line.name)}</title></path>'
    if line.marked or len(line.points) == 1:
        for at, height in line.points:
            label = escape(f"{line.name}: {at:.4g}, {height:.4g}")
            drawn += f'<circle class="{style}" cx="{x(at)}" cy="{y(height)}" r="3.5"><title>{label}</title></circle>'
    return drawn


def _is_spread(values: Sequence[float]) -> bool:
    ordered = sorted(values)
    return ordered[0] > 0 and ordered[-1] > _LOG_FROM * ordered[len(ordered) // 2]


def _round_step(rough: float) -> float:
    """Round up to 1, 2 or 5 times a power of ten."""
    scale = 10.0 ** floor(log10(rough))
    return next(factor * scale for factor in (1, 2, 5, 10) if factor * scale >= rough * 0.999999)
