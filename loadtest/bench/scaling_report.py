"""The results of a scaling curve as a table, as a chart, and held against the curve's limit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from loadtest.bench.scaling import CURVES
from loadtest.svg.drawing import Drawing
from loadtest.svg.line_chart import Line, line_chart

TITLES = {curve.name: curve.title for curve in CURVES}
"""What is on the horizontal axis, by the curve's name."""

_LOG_RATIO = 20.0
"""Costs that differ by more than this are drawn on a logarithmic axis."""


def misses(found: Mapping[str, Any]) -> list[str]:
    """Return the points that cost too much, in words."""
    limit = found["limit"]
    return [
        f"{found['part']} {point['value']:,}: {point[found['compared']]:.1f} us per {found['per']} are "
        f"{point['times_cheapest']:.2f} times the cheapest before, at most {limit} are allowed"
        for point in found["points"]
        if limit is not None and point["times_cheapest"] > limit
    ]


def table(found: Mapping[str, Any]) -> str:
    """Write a row for each point of a curve, and the chart, in Markdown."""
    per, steady = found["per"], found["compared"] == "steady_cpu_us"
    columns: dict[str, Callable[[Mapping[str, Any]], str]] = {
        TITLES[found["part"]]: lambda point: f"{point['value']:,}",
        f"{per}s/s": lambda point: f"{point['per_second']:,.0f}",
        f"CPU µs per {per}": lambda point: f"{point['cpu_us']:,.1f}",
    }
    if steady:
        columns |= {
            "at a steady rate of": lambda point: f"{point['steady_rate']:,.0f}/s",
            f"CPU µs per {per} at that rate": lambda point: f"{point['steady_cpu_us']:,.1f}",
        }
    columns |= {
        "times the first": lambda point: f"{point['times_first']:.2f}",
        "times the cheapest before": lambda point: f"{point['times_cheapest']:.2f}",
        "p50 ms": lambda point: f"{point['p50_us'] / 1000:.2f}",
        "p99 ms": lambda point: f"{point['p99_us'] / 1000:.2f}",
        "RSS MiB": lambda point: f"{point['resident_mib']:.0f}",
        "idle CPU %": lambda point: f"{point['idle_cpu_percent']:.1f}",
        "CPU ms per scrape": lambda point: f"{point['scrape_cpu_ms']:.1f}",
    }
    rows = [list(columns), ["--:"] * len(columns)]
    rows += [[write(point) for write in columns.values()] for point in found["points"]]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines[1] = lines[1].replace(" ", "")
    return "\n".join([*lines, "", f"![CPU per {per}](performance/{found['part']}.svg)"])


def chart(found: Mapping[str, Any]) -> Drawing:
    """Draw what each point of a curve costs, with the limit."""
    per = found["per"]
    points = [(point["value"], max(point[found["compared"]], 0.01)) for point in found["points"]]
    values, costs = [value for value, _ in points], [cost for _, cost in points]
    lines = [Line(f"CPU per {per}", points, marked=True)]
    if found["limit"]:
        limit = found["limit"] * min(costs)
        lines.append(Line("limit", [(values[0], limit), (values[-1], limit)], guide=True))
    return line_chart(
        f"What one {per} costs",
        lines,
        x=TITLES[found["part"]],
        y=f"CPU of the gateway, us per {per}",
        log_x=True,
        log_y=max(costs) > _LOG_RATIO * min(costs),
        x_ticks=values,
    )
