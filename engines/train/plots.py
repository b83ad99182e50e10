"""The plots of a card as SVG: curves, bars, a confusion matrix, and calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

_WIDTH, _HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 20, 34, 44
_COLOURS = ("#0b62c4", "#c2540a", "#1f7a45", "#9a2f8f", "#7a6200", "#00808a", "#b3243b", "#5b5fc7")
_TICKS = 5
_MOST_NAMED = 25
_NAMES, _VALUES = 110, 50
_BAR, _BETWEEN, _LEGEND = 12, 8, 16

Point = tuple[float, float]


def curves(title: str, lines: Mapping[str, Sequence[Point]], *, x: str, y: str) -> str:
    """Draw lines over a common x axis; both axes begin at zero."""
    points = [point for line in lines.values() for point in line]
    most_x = max([point[0] for point in points], default=1.0) or 1.0
    most_y = max([point[1] for point in points], default=1.0) or 1.0
    body = _axes(most_x, most_y, x, y)
    for number, (name, line) in enumerate(lines.items()):
        colour = _colour(number)
        path = " ".join(f"{_x(at / most_x):.1f},{_y(height / most_y):.1f}" for at, height in line)
        body.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        left = _LEFT + 12 + 150 * number
        body.append(f'<text x="{left}" y="{_TOP + 10}" fill="{colour}">{escape(name)}</text>')
    return _file(title, _WIDTH, _HEIGHT, body)


def calibration(title: str, bins: Sequence[tuple[float, float, int]]) -> str:
    """Draw the accuracy of answers over their confidence, a dot for each bin; the diagonal is perfect.

    A bin has its confidence, its accuracy, and its count, which is the area of the dot.
    """
    body = _axes(1.0, 1.0, "confidence", "accuracy")
    body.append(f'<path d="M{_x(0)} {_y(0)}L{_x(1)} {_y(1)}" stroke="#999999" stroke-dasharray="5 4"/>')
    most = max((count for _, _, count in bins), default=1)
    for confidence, accuracy, count in bins:
        radius = 3 + 9 * (count / most) ** 0.5
        told = f"{count} answers, confidence {confidence:.2f}, accuracy {accuracy:.2f}"
        body.append(
            f'<circle cx="{_x(confidence):.1f}" cy="{_y(accuracy):.1f}" r="{radius:.1f}" fill="{_COLOURS[0]}"'
            f' fill-opacity="0.6"><title>{told}</title></circle>'
        )
    return _file(title, _WIDTH, _HEIGHT, body)


def confusion(title: str, labels: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Draw how often each label (row) got each answer (column), shaded by its share of the row."""
    named = len(labels) <= _MOST_NAMED
    cell = 28 if named else max(4, 560 // len(labels))
    left, top = (170, 60) if named else (30, 50)
    side = cell * len(labels)
    body = [f'<text x="{left}" y="{top - 8}">answers in columns, labels in rows, in this order</text>']
    for row, line in enumerate(counts):
        total = sum(line) or 1
        if named:
            body.append(
                f'<text x="{left - 6}" y="{top + row * cell + 18}" text-anchor="end">{escape(labels[row][:24])}</text>'
            )
        for column, count in enumerate(line):
            if not count and row != column:
                continue
            at_x, at_y, told = left + column * cell, top + row * cell, escape(f"{labels[row]} → {labels[column]}")
            colour = _COLOURS[2] if row == column else _COLOURS[1]
            body.append(
                f'<rect x="{at_x}" y="{at_y}" width="{cell}" height="{cell}" fill="{colour}"'
                f' fill-opacity="{max(0.08, count / total):.2f}"><title>{told}: {count}</title></rect>'
            )
            if named:
                body.append(f'<text x="{at_x + cell / 2}" y="{at_y + 18}" text-anchor="middle">{count}</text>')
    body.append(f'<rect x="{left}" y="{top}" width="{side}" height="{side}" fill="none" stroke="#999999"/>')
    return _file(title, max(400, left + side + 20), top + side + 20, body)


def grouped_bars(title: str, unit: str, series: Mapping[str, Mapping[str, float]]) -> str:
    """Draw a group of horizontal bars for each name, a bar for each series; the scale begins at zero.

    All series have the same names, and values that are not negative, in ``unit``.
    """
    values = [value for bars in series.values() for value in bars.values()]
    scale = (_WIDTH - _NAMES - _VALUES) / (max(values, default=1.0) or 1.0)
    body = []
    y = _TOP
    if len(series) > 1:
        for number, name in enumerate(series):
            body.append(f'<text x="{_NAMES}" y="{y + 10}" fill="{_colour(number)}">{escape(name)}</text>')
            y += _LEGEND
    for name in next(iter(series.values())):
        middle = y + len(series) * _BAR / 2 + 4
        body.append(f'<text x="{_NAMES - 8}" y="{middle:g}" text-anchor="end">{escape(name)}</text>')
        for number, (whose, bars) in enumerate(series.items()):
            length = round(bars[name] * scale, 1)
            told = escape(f"{whose}, {name}: {bars[name]:.1f} {unit}")
            body.append(
                f'<rect x="{_NAMES}" y="{y}" width="{length}" height="{_BAR - 1}" fill="{_colour(number)}">'
                f"<title>{told}</title></rect>"
            )
            body.append(f'<text x="{_NAMES + length + 5:g}" y="{y + _BAR - 2}" font-size="11">{bars[name]:.1f}</text>')
            y += _BAR
        y += _BETWEEN
    body.append(f'<text x="{_NAMES}" y="{y + 10}">{escape(unit)}</text>')
    return _file(title, _WIDTH, y + 20, body)


def smoothed(points: Sequence[Point]) -> list[Point]:
    """Take the moving average of a noisy curve over a twentieth of it."""
    width = max(1, len(points) // 20)
    return [
        (points[at][0], sum(value for _, value in points[max(0, at + 1 - width) : at + 1]) / min(at + 1, width))
        for at in range(len(points))
    ]


def _axes(most_x: float, most_y: float, x: str, y: str) -> list[str]:
    body = [f'<path d="M{_x(0)} {_y(1)}V{_y(0)}H{_x(1)}" fill="none" stroke="#444444"/>']
    for tick in range(_TICKS + 1):
        share = tick / _TICKS
        body.append(f'<text x="{_x(share)}" y="{_y(0) + 16}" text-anchor="middle">{share * most_x:.3g}</text>')
        body.append(f'<text x="{_x(0) - 6}" y="{_y(share) + 4}" text-anchor="end">{share * most_y:.3g}</text>')
    body.append(f'<text x="{_x(0.5)}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(x)}</text>')
    middle = f"translate(14 {_y(0.5)}) rotate(-90)"
    body.append(f'<text transform="{middle}" text-anchor="middle">{escape(y)}</text>')
    return body


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _x(share: float) -> float:
    return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)


def _y(share: float) -> float:
    return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM), 1)


def _file(title: str, width: int, height: int, body: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif"'
        f' font-size="12">\n<rect width="{width}" height="{height}" fill="white"/>\n'
        f'<text x="{width / 2}" y="20" text-anchor="middle" font-size="14">{escape(title)}</text>\n'
    )
    return head + "\n".join(body) + "\n</svg>\n"
