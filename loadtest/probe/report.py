"""Writes what was measured as a table and as a plot."""

from __future__ import annotations

from collections.abc import Sequence

from engines import robustness
from engines.robustness import AS_WRITTEN, Row
from engines.train.plots import grouped_bars
from loadtest.probe.measure import Result
from loadtest.svg.bar_chart import bar_chart


def table(results: Sequence[Result]) -> str:
    """Write the rows as Markdown, which a terminal shows as well; several models have a column each."""
    first = results[0]
    about = f"{first.texts} texts of {first.data} (seed {first.seed}); one text is {100 / first.texts:.2g} points"
    if len(results) == 1:
        return "\n".join([f"{first.model} on {about}.", "", *robustness.table(first.rows)])
    lines = [
        f"Accuracy on {about}. In brackets: points against that as written.",
        "",
        f"| texts | changed | {' | '.join(result.model for result in results)} |",
        f"|---|--:|{'--:|' * len(results)}",
    ]
    for rows in zip(*(result.rows for result in results), strict=True):
        cells = (_cell(row, result.rows[0]) for row, result in zip(rows, results, strict=True))
        lines.append(f"| {rows[0].name} | {rows[0].changed} | {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(results: Sequence[Result]) -> str:
    """Draw the accuracy of each row, as an SVG file for a model card; several models have a bar each."""
    bars = {result.model: {row.name: 100 * row.accuracy for row in result.rows} for result in results}
    first, unit = results[0], f"% of {results[0].texts} texts"
    if len(results) > 1:
        return grouped_bars("Accuracy on changed texts", unit, bars)
    title = f"{first.model}: accuracy on changed texts"
    return bar_chart(title, [(unit, [*bars[first.model].items()])], AS_WRITTEN).file()


def _cell(row: Row, written: Row) -> str:
    change = "" if row.name == AS_WRITTEN else f" ({100 * (row.accuracy - written.accuracy):+.1f})"
    return f"{100 * row.accuracy:.1f} %{change}"
