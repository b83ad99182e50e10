"""Writes what was measured as a table and as a plot."""

from __future__ import annotations

from loadtest.probe.measure import AS_WRITTEN, Result
from loadtest.svg.bar_chart import bar_chart


def table(result: Result) -> str:
    """Write the rows as Markdown, which a terminal shows as well."""
    written = result.rows[0].accuracy
    lines = [
        f"{result.model} on {result.texts} texts of {result.data} (seed {result.seed}); one text is "
        f"{100 / result.texts:.2g} points.",
        "",
        "| texts | changed | accuracy | points lost | answers changed |",
        "|---|--:|--:|--:|--:|",
    ]
    for row in result.rows:
        lost = "" if row.name == AS_WRITTEN else f"{100 * (written - row.accuracy):.1f}"
        flips = "" if row.flips is None else f"{100 * row.flips:.1f} %"
        lines.append(f"| {row.name} | {row.changed} | {100 * row.accuracy:.1f} % | {lost} | {flips} |")
    return "\n".join(lines)


def plot(result: Result) -> str:
    """Draw the accuracy of each row, as an SVG file for a model card."""
    bars = [(row.name, 100 * row.accuracy) for row in result.rows]
    title = f"{result.model}: accuracy on changed texts"
    return bar_chart(title, [(f"% of {result.texts} texts", bars)], AS_WRITTEN).file()
