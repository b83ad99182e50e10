"""One HTML page with the results: plots, tables and all figures, complete in itself, for light and dark screens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from loadtest.ramp import Step, conclusion
from loadtest.record import Record
from loadtest.summary import PERCENTILES, in_flight
from loadtest.svg.axis import is_spread
from loadtest.svg.drawing import PAGE_STYLE
from loadtest.svg.line_chart import Line, Point, cumulative, line_chart, thinned

_STYLE = """
:root { --page: #fff; --tile: #f4f6f8; --warn: #8a5200; }
@media (prefers-color-scheme: dark) { :root { --page: #14181d; --tile: #1e242b; --warn: #f0b45a; } }
body { margin: 2rem auto; max-width: 84rem; padding: 0 1.5rem; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
p.about { color: var(--soft); margin: .3rem 0 1.2rem; }
p.warning { color: var(--warn); border-left: 4px solid; padding-left: .7rem; }
p.knee { white-space: pre-line; font-weight: 600; }
dl { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1rem 0; }
dl div { background: var(--tile); border-radius: 8px; padding: .6rem 1rem; min-width: 7rem; }
dt { color: var(--soft); font-size: .85rem; } dd { margin: 0; font-size: 1.3rem; font-weight: 600; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); gap: 1.4rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid var(--rule); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th.words, td.words { text-align: left; white-space: normal; }
th { color: var(--soft); font-weight: 600; }
code { overflow-wrap: anywhere; }
"""

_TIMES = {
    "ttft": ("Time to first token", "from sending to the first event with content"),
    "tpot": ("Time per output token", "behind the first one"),
    "e2el": ("End to end", "from sending to the last event with content"),
}


_LONG_CELL = 40
"""A column with a longer text than this is prose: its lines begin at the left and may break."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a page shows. ``series`` are the requests to compare, by name; the timeline is that of ``timeline``.

    ``queue`` are moments on the same clock as the records' and how many requests waited at the server.
    """

    about: str
    command: str
    found: Mapping[str, Any]
    series: Mapping[str, Sequence[Record]]
    timeline: Sequence[Record] = ()
    steps: Sequence[Step] = ()
    knee: Mapping[str, Any] | None = None
    comparison: Sequence[Sequence[str]] = ()
    queue: Sequence[Point] = field(default=())


def render(page: Page) -> str:
    """Write the page."""
    parts = [f'<p class="warning">{escape(each)}</p>' for each in page.found.get("warnings", ())]
    if page.knee is not None:
        parts.append(f'<p class="knee">{escape(conclusion(page.knee))}</p>')
    if page.comparison:
        parts += ["<h2>Comparison</h2>", _table(page.comparison)]
    else:
        parts.append(_tiles(page.found))
    plots = [*_distributions(page.series), *_against_rate(page), *_timeline(page)]
    parts += ["<h2>Plots</h2>", f'<div class="plots">{"".join(plots)}</div>']
    if page.steps:
        parts += ["<h2>Steps</h2>", _table(_step_rows(page.steps))]
    if not page.comparison:
        parts += ["<h2>Times in milliseconds</h2>", _table(_time_rows(page.found))]
    if page.found.get("errors"):
        errors = [["number", "error"], *([str(number), error] for error, number in page.found["errors"].items())]
        parts += ["<h2>Failures</h2>", _table(errors)]
    parts += ["<h2>Command</h2>", f"<p><code>{escape(page.command)}</code></p>"]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f"<title>Load test: {escape(page.about)}</title><style>{PAGE_STYLE}{_STYLE}</style></head><body>\n"
        f'<h1>Load test</h1><p class="about">{escape(page.about)}</p>\n' + "\n".join(parts) + "\n</body></html>\n"
    )


def _tiles(found: Mapping[str, Any]) -> str:
    tiles = [
        ("answered", f"{found['completed']} of {found['num_prompts']}"),
        ("failed", str(found["failed"])),
        ("achieved", f"{found['request_throughput']:.1f}/s"),
        ("output tokens", f"{found['output_throughput']:.0f}/s"),
    ]
    if found["request_goodput"] is not None:
        tiles.append(("goodput", f"{found['request_goodput']:.1f}/s"))
    tiles += [
        (f"{name} p{percent}", f"{found[f'p{percent}_{name}_ms']:.1f} ms")
        for name in _TIMES
        for percent in (50, 99)
        if f"p{percent}_{name}_ms" in found
    ]
    tiles.append(("client's CPU", f"{found['client_cpu_share']:.0%}"))
    return f"<dl>{''.join(f'<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>' for name, value in tiles)}</dl>"


def _distributions(series: Mapping[str, Sequence[Record]]) -> list[str]:
    plots = []
    for key, (title, meaning) in _TIMES.items():
        lines = [
            cumulative(name, values) for name, records in series.items() if (values := _milliseconds(key, records))
        ]
        if lines:
            plots.append(
                line_chart(
                    f"{title}: share of requests",
                    lines,
                    x=f"{key} in ms, {meaning}",
                    y="share of requests",
                    whole_share=True,
                    log_x=is_spread([value for line in lines for value, _ in line.points]),
                ).figure()
            )
    return plots


def _milliseconds(key: str, records: Sequence[Record]) -> list[float]:
    good = [record for record in records if record.succeeded]
    times = [{"ttft": record.ttft, "tpot": record.tpot, "e2el": record.e2e}[key] for record in good]
    return [time * 1000 for time in times if time is not None]


def _against_rate(page: Page) -> list[str]:
    if len(page.steps) < 2:
        return []
    steps = sorted(page.steps, key=lambda step: step.rate)
    top = steps[-1].rate
    lines = [
        Line("every request meets its objectives", [(0.0, 0.0), (top, top)], guide=True),
        Line("goodput: rate x share within", [(step.rate, step.goodput) for step in steps], marked=True),
    ]
    if page.knee is not None and page.knee["knee_rate"] is not None:
        at = page.knee["knee_rate"]
        lines.append(Line(f"knee, {at:.2f}/s", [(at, 0.0), (at, top)], guide=True))
    return [
        line_chart("Goodput against rate", lines, x="planned requests per second", y="requests per second").figure()
    ]


def _timeline(page: Page) -> list[str]:
    steps = in_flight(page.timeline)
    if not steps:
        return []
    began = min(record.planned for record in page.timeline)
    end = steps[-1][0]
    flight = thinned([(moment - began, float(number)) for moment, number in steps])
    lines = [Line("in flight, as the clients see it", [(0.0, 0.0), *flight], stepped=True)]
    waiting = [(moment - began, number) for moment, number in page.queue if began <= moment <= end]
    if waiting:
        lines.append(Line("waiting, as the server says", thinned(waiting), stepped=True))
    return [line_chart("Timeline", lines, x="seconds", y="requests").figure()]


def _time_rows(found: Mapping[str, Any]) -> list[list[str]]:
    rows = [["", "mean", *(f"p{percent}" for percent in PERCENTILES)]]
    for kind, part in {"": found, **found.get("kinds", {})}.items():
        for name in ("ttft", "tpot", "itl", "e2el", "lateness"):
            if f"mean_{name}_ms" in part:
                keys = (f"mean_{name}_ms", *(f"p{percent}_{name}_ms" for percent in PERCENTILES))
                rows.append([f"{kind} {name}".strip(), *(f"{part[key]:.2f}" for key in keys)])
    return rows


def _step_rows(steps: Sequence[Step]) -> list[list[str]]:
    rows = [
        [
            "rate",
            "requests",
            "answered",
            "failed",
            "goodput",
            "ttft p99 ms",
            "tpot p99 ms",
            "e2el p99 ms",
            "why it failed",
        ]
    ]
    for step in steps:
        found = step.found
        times = [f"{found[key]:.1f}" if (key := f"p99_{name}_ms") in found else "" for name in _TIMES]
        counts = [str(found[name]) for name in ("num_prompts", "completed", "failed")]
        rows.append([f"{step.rate:.2f}/s", *counts, f"{step.goodput:.2f}/s", *times, step.reason or ""])
    return rows


def _table(rows: Sequence[Sequence[str]]) -> str:
    wordy = [any(len(row[column]) > _LONG_CELL for row in rows[1:]) for column in range(len(rows[0]))]
    head, *body = [
        "".join(_cell(cell, wordy=words, tag="td" if number else "th") for cell, words in zip(row, wordy, strict=True))
        for number, row in enumerate(rows)
    ]
    lines = "".join(f"<tr>{row}</tr>" for row in body)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'


def _cell(text: str, *, wordy: bool, tag: str) -> str:
    style = ' class="words"' if wordy else ""
    return f"<{tag}{style}>{escape(text)}</{tag}>"
