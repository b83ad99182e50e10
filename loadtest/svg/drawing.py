"""A finished chart, and the style sheet that gives its elements their colours."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

COLOURS = 8
"""How many series have a colour of their own: the classes ``c0`` to ``c7``."""

_TITLE, _LEGEND = 34, 20
"""Heights of a file's title and legend, above the chart."""

_LIGHT = {
    "ink": "#1b1f24",
    "soft": "#59636e",
    "rule": "#d9dee3",
    "other": "#99aabb",
    "c0": "#0b62c4",
    "c1": "#c2540a",
    "c2": "#1f7a45",
    "c3": "#9a2f8f",
    "c4": "#7a6200",
    "c5": "#00808a",
    "c6": "#b3243b",
    "c7": "#5b5fc7",
}
_DARK = {
    "ink": "#e7ebef",
    "soft": "#9aa5b1",
    "rule": "#333b44",
    "other": "#5c6b7a",
    "c0": "#6cb1ff",
    "c1": "#ff9d57",
    "c2": "#63cf8d",
    "c3": "#e58fdb",
    "c4": "#d8bf4f",
    "c5": "#4fd0d9",
    "c6": "#ff8095",
    "c7": "#a9acff",
}

_RULES = """\
text { font-size: 12px; fill: var(--soft); }
text.x, text.name { text-anchor: middle; } text.y { text-anchor: end; } text.marked { font-weight: bold; }
path.grid { stroke: var(--rule); stroke-width: 1; fill: none; }
path.line { stroke-width: 2; fill: none; stroke-linejoin: round; }
path.guide { stroke: var(--soft); stroke-width: 1.5; stroke-dasharray: 5 4; }
rect.bar { fill: var(--other); } rect.marked { fill: var(--c0); }
""" + "\n".join(f"path.c{n} {{ stroke: var(--c{n}); }} circle.c{n} {{ fill: var(--c{n}); }}" for n in range(COLOURS))


def _variables(colours: Mapping[str, str]) -> str:
    return " ".join(f"--{name}: {colour};" for name, colour in colours.items())


PAGE_STYLE = f"""
:root {{ color-scheme: light dark; {_variables(_LIGHT)} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_variables(_DARK)} }} }}
figure {{ margin: 0; }} figcaption {{ font-weight: 600; }} svg {{ width: 100%; height: auto; }}
figure ul {{ list-style: none; display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; padding: 0;
  margin: .2rem 0; font-size: .85rem; }}
figure li::before {{ content: ""; display: inline-block; width: 1.1rem; border-top: 3px solid;
  margin: 0 .4rem .25rem 0; }}
li.guide::before {{ border-top-style: dashed; border-top-width: 2px; border-color: var(--soft); }}
{" ".join(f"li.c{n}::before {{ border-color: var(--c{n}); }}" for n in range(COLOURS))}
{_RULES}
"""
"""The style sheet of a page with figures, for light and dark screens."""

_FILE_STYLE = re.sub(r"var\(--(\w+)\)", lambda variable: _LIGHT[variable[1]], _RULES)
"""The style sheet within a file: not every program that shows SVG knows variables, and its background is white."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A chart of ``width`` by ``height``; ``legend`` has the style class and the name of each series."""

    title: str
    width: int
    height: int
    elements: Sequence[str]
    legend: Sequence[tuple[str, str]] = ()

    def figure(self) -> str:
        """Write it for an HTML page that has ``PAGE_STYLE``."""
        items = "".join(f'<li class="{style}">{escape(name)}</li>' for style, name in self.legend)
        return (
            f"<figure><figcaption>{escape(self.title)}</figcaption><ul>{items}</ul>"
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" role="img" '
            f'aria-label="{escape(self.title)}">{"".join(self.elements)}</svg></figure>'
        )

    def file(self) -> str:
        """Write it as an SVG file that needs nothing else and can be read on a light page and on a dark one."""
        legend = self._legend_above()
        header = _TITLE + (_LEGEND if legend else 0)
        height = self.height + header
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {height}" font-family="sans-serif">',
            f"<style>\n{_FILE_STYLE}\n</style>",
            f'<rect width="{self.width}" height="{height}" fill="white"/>',
            f'<text class="name" x="{self.width / 2:g}" y="22" style="font-size: 15px">{escape(self.title)}</text>',
            *legend,
            f'<g transform="translate(0 {header})">',
            *self.elements,
            "</g>",
            "</svg>",
        ]
        return "\n".join(lines) + "\n"

    def _legend_above(self) -> list[str]:
        """Write the legend as a row of its own; one series alone needs none."""
        if len(self.legend) < 2:
            return []
        room = self.width / len(self.legend)
        lines = []
        for number, (style, name) in enumerate(self.legend):
            left = number * room + 20
            lines.append(f'<path class="line {style}" d="M{left:g} 40h22"/>')
            lines.append(f'<text x="{left + 28:g}" y="44">{escape(name)}</text>')
        return lines
