"""One curve as an SVG picture: the cost of a request over what grows, with the line that it must stay below."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT = 640, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 40, 50
_LOG_RATIO = 20.0
"""Costs that differ by more than this are drawn on a logarithmic axis."""


def svg(title: str, across: str, up: str, points: Sequence[tuple[float, float]], limit: float | None) -> str:
    """Draw ``points`` (both positive, the first axis logarithmic); ``limit`` is a dashed line, in units of ``up``."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    logarithmic = max(ys) > _LOG_RATIO * min(ys)
    low, high = (min(ys) / 2, max(ys) * 2) if logarithmic else (0.0, max(*ys, limit or 0.0) * 1.15)

    def at_x(x: float) -> float:
        span = math.log(max(xs)) - math.log(min(xs)) or 1.0
        return _LEFT + (math.log(x) - math.log(min(xs))) / span * (_WIDTH - _LEFT - _RIGHT)

    def at_y(y: float) -> float:
        share = math.log(y / low) / math.log(high / low) if logarithmic else (y - low) / (high - low)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        _text(_WIDTH / 2, 22, title, "middle", size=15),
        _text(_WIDTH / 2, _HEIGHT - 10, across, "middle"),
        f'<g transform="rotate(-90 16 {_HEIGHT / 2})">{_text(16, _HEIGHT / 2, up, "middle")}</g>',
        f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" fill="none" stroke="black"/>',
    ]
    lines += [_text(at_x(x), bottom + 18, f"{x:,.0f}", "middle") for x in xs]
    lines += [_text(_LEFT - 6, at_y(y) + 4, f"{y:,.3g}", "end") for y in _ticks(low, high, logarithmic=logarithmic)]
    if limit is not None:
        lines.append(f'<path d="M{_LEFT} {at_y(limit):.1f}H{right}" fill="none" stroke="#c33" stroke-dasharray="6 4"/>')
        lines.append(_text(right, at_y(limit) - 5, "limit", "end"))
    path = "L".join(f"{at_x(x):.1f} {at_y(y):.1f}" for x, y in points)
    lines.append(f'<path d="M{path}" fill="none" stroke="#27c" stroke-width="2"/>')
    lines += [f'<circle cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="4" fill="#27c"/>' for x, y in points]
    return "\n".join([*lines, "</svg>"]) + "\n"


def _text(x: float, y: float, text: str, anchor: str, size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'


def _ticks(low: float, high: float, *, logarithmic: bool) -> list[float]:
    """Return round numbers from ``low`` to ``high``."""
    if logarithmic:
        return [10.0**power for power in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]
    step = 10.0 ** math.floor(math.log10(high / 3))
    step *= next(factor for factor in (1, 2, 5, 10) if high / (step * factor) <= 6)
    return [step * number for number in range(int(high / step) + 1)]
