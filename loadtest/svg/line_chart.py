"""Line charts: series over a common x axis, distributions among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil

from loadtest.svg.axis import Axis
from loadtest.svg.drawing import COLOURS, Drawing

WIDTH, HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 36, 12, 44
_MOST_POINTS = 600

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
    """Return the distribution of values: which share of them (0 to 1) is at most x."""
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
    """Return the highest value of each stretch of a long series, so that no peak gets lost."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    stretch = ceil(len(points) / _MOST_POINTS)
    return [max(points[at : at + stretch], key=lambda point: point[1]) for at in range(0, len(points), stretch)]


def line_chart(
    title: str,
    lines: Sequence[Line],
    *,
    x: str,
    y: str,
    whole_share: bool = False,
    log_x: bool = False,
    log_y: bool = False,
    x_ticks: Sequence[float] = (),
) -> Drawing:
    """Draw lines; ``x`` and ``y`` name the axes with their units.

    ``whole_share``: the y axis is 0 to 100 %. A logarithmic axis (``log_x``, ``log_y``) needs positive values.
    ``x_ticks``: the values to write below the x axis, instead of round ones.
    """
    values = [point[0] for line in lines for point in line.points]
    heights = [point[1] for line in lines for point in line.points]
    horizontal = (Axis.log if log_x else Axis.linear)(min(values), max(values), _LEFT, WIDTH - _RIGHT)
    top = 1.0 if whole_share else max(heights, default=1.0)
    bottom, upper = HEIGHT - _BOTTOM, _TOP
    vertical = Axis.log(min(heights), top, bottom, upper) if log_y else Axis.linear(0.0, top, bottom, upper)
    elements = [*_grid(horizontal, vertical, x_ticks or horizontal.ticks, whole_share=whole_share)]
    legend = []
    coloured = 0
    for line in lines:
        style = "guide" if line.guide else f"c{coloured % COLOURS}"
        coloured += not line.guide
        elements += _drawn(line, style, horizontal, vertical)
        legend.append((style, line.name))
    elements.append(f'<text class="name" x="{(_LEFT + WIDTH - _RIGHT) / 2}" y="{HEIGHT - 8}">{escape(x)}</text>')
    elements.append(f'<text class="name" transform="translate(14 {HEIGHT / 2 - 16}) rotate(-90)">{escape(y)}</text>')
    return Drawing(title, WIDTH, HEIGHT, elements, legend)


def _grid(horizontal: Axis, vertical: Axis, x_ticks: Sequence[float], *, whole_share: bool) -> list[str]:
    elements = []
    for tick in vertical.ticks:
        at = vertical.place(tick)
        label = f"{tick:.0%}" if whole_share else _label(tick)
        elements.append(f'<path class="grid" d="M{_LEFT} {at}H{WIDTH - _RIGHT}"/>')
        elements.append(f'<text class="y" x="{_LEFT - 7}" y="{at + 4:g}">{label}</text>')
    for tick in x_ticks:
        at = horizontal.place(tick)
        elements.append(f'<path class="grid" d="M{at} {_TOP}V{HEIGHT - _BOTTOM}"/>')
        elements.append(f'<text class="x" x="{at}" y="{HEIGHT - _BOTTOM + 17}">{_label(tick)}</text>')
    return elements


def _label(tick: float) -> str:
    """Write a tick with as many digits as it needs, thousands apart."""
    return f"{tick:,.0f}" if abs(tick) >= 1000 else f"{tick:.6g}"


def _drawn(line: Line, style: str, x: Axis, y: Axis) -> list[str]:
    moves: list[str] = []
    for at, height in line.points:
        if not moves:
            moves.append(f"M{x.place(at)} {y.place(height)}")
        elif line.stepped:
            moves.append(f"H{x.place(at)}V{y.place(height)}")
        else:
            moves.append(f"L{x.place(at)} {y.place(height)}")
    elements = [f'<path class="line {style}" d="{"".join(moves)}"><title>{escape(line.name)}</title></path>']
    if line.marked or len(line.points) == 1:
        for at, height in line.points:
            label = escape(f"{line.name}: {at:.4g}, {height:.4g}")
            place = f'cx="{x.place(at)}" cy="{y.place(height)}"'
            elements.append(f'<circle class="{style}" {place} r="3.5"><title>{label}</title></circle>')
    return elements
