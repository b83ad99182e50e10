"""Bar charts: a few figures of a few things, one panel below the other."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from loadtest.svg.drawing import Drawing

_WIDTH = 640
_LEFT, _RIGHT = 150, 70
_BAR, _STEP, _HEADING, _GAP = 16, 22, 24, 10


def bar_chart(title: str, panels: Sequence[tuple[str, Sequence[tuple[str, float]]]], marked: str) -> Drawing:
    """Draw panels, each with a heading and its horizontal bars: labels and values (not negative) from the top down.

    Each panel has a scale of its own, from zero to its largest value. The bar whose label is ``marked`` stands out.
    """
    elements: list[str] = []
    y = 0
    for heading, bars in panels:
        elements.append(f'<text class="name" x="{_WIDTH / 2:g}" y="{y + 14}">{escape(heading)}</text>')
        y += _HEADING
        most = max(value for _, value in bars) or 1.0
        for label, value in bars:
            style = " marked" if label == marked else ""
            length = value / most * (_WIDTH - _LEFT - _RIGHT)
            baseline = y + _BAR - 4
            elements.append(f'<text class="y{style}" x="{_LEFT - 8}" y="{baseline}">{escape(label)}</text>')
            elements.append(f'<rect class="bar{style}" x="{_LEFT}" y="{y}" width="{length:.1f}" height="{_BAR}"/>')
            elements.append(
                f'<text class="value{style}" x="{_LEFT + length + 6:.1f}" y="{baseline}">{value:,.1f}</text>'
            )
            y += _STEP
        y += _GAP
    return Drawing(title, _WIDTH, y, elements)
