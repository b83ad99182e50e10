"""Horizontal bars as an SVG picture: a few figures of a few things, one panel below the other."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

_WIDTH = 640
_LEFT, _RIGHT, _TOP = 150, 70, 40
_BAR, _STEP, _HEADING = 16, 22, 34


def svg(title: str, panels: Sequence[tuple[str, Sequence[tuple[str, float]]]], marked: str) -> str:
    """Draw panels, each with a heading and its bars, which are labels and values (not negative) from the top down.

    Each panel has a scale of its own, from zero to its largest value. The bar whose label is ``marked`` stands out. The
    picture brings its own background, so that it can be read on a light page and on a dark one.
    """
    lines: list[str] = []
    y = float(_TOP)
    for heading, bars in panels:
        lines.append(_text(_WIDTH / 2, y + 14, heading, "middle", size=13))
        y += _HEADING - 10
        most = max(value for _, value in bars) or 1.0
        for label, value in bars:
            own = label == marked
            colour = "#27c" if own else "#9ab"
            length = value / most * (_WIDTH - _LEFT - _RIGHT)
            lines.append(_text(_LEFT - 8, y + _BAR - 4, label, "end", bold=own))
            lines.append(f'<rect x="{_LEFT}" y="{y:.1f}" width="{length:.1f}" height="{_BAR}" fill="{colour}"/>')
            lines.append(_text(_LEFT + length + 6, y + _BAR - 4, f"{value:,.1f}", "start", bold=own))
            y += _STEP
        y += 10
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y:.0f}" font-family="sans-serif" '
            'font-size="12">',
            f'<rect width="{_WIDTH}" height="{y:.0f}" fill="white"/>',
            _text(_WIDTH / 2, 22, title, "middle", size=15),
            *lines,
            "</svg>\n",
        ]
    )


def _text(x: float, y: float, text: str, anchor: str, *, size: int = 12, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"{weight}>{escape(text)}</text>'
