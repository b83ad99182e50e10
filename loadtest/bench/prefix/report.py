"""What was found about prefix hits as a table, as a chart, and held against the targets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from loadtest.svg.bar_chart import bar_chart
from loadtest.svg.drawing import Drawing

_OURS = "headgate prefix"
"""The gateway that the targets are for."""

_HIT_SHARE = {0.6: 0.95, 0.9: 0.90}
"""The least share of the possible hits at each load."""

_TTFT_SHARE = 0.8
"""At most so many times another's p90 of the time to the first token."""

_COST, _COST_BYTES = 1.25, 2000
"""At most so many times the CPU time of ``least_in_flight``, for a body of so many bytes."""


def table(found: Mapping[str, Any]) -> str:
    """Write a row for each gateway and setting, and the chart, in Markdown."""
    lines = [
        f"{found['requests']:,} requests have {found['prompt_tokens'] / 1e6:.1f} million prompt tokens, of which "
        f"{found['distinct_tokens'] / 1e6:.1f} million differ; all caches together hold {found['cached_share']:.0%} of "
        f"those. One cache of that size would find {found['ceiling']:.1%} of the tokens: the possible hits. Engines "
        f"are simulated, `{found['profile']}` at {found['speed']:g} times its speed, and responses have "
        f"{found['output_share']:g} times the length that was recorded.",
        "",
        "| replicas | load | requests/s | gateway | share of the possible hits | TTFT p50 ms | TTFT p90 ms | "
        "gateway's CPU µs per request | failed |",
        "|--:|--:|--:|---|--:|--:|--:|--:|--:|",
    ]
    for run in found["runs"]:
        name = f"**{run['gateway']}**" if run["gateway"] == _OURS else run["gateway"]
        figures = [f"{run['hit_share']:.1%}"]
        figures += [_number(run[each]) for each in ("p50_ttft_ms", "p90_ttft_ms", "gateway_cpu_us")]
        cells = [f"{run['replicas']}", f"{run['load']:.0%}", f"{run['rate']:.1f}", name, *figures, f"{run['failed']}"]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "![Hits and TTFT](performance/prefix.svg)", ""]
    lines += [f"Left out: {name} ({why})." for name, why in found["left_out"].items()]
    return "\n".join([*lines, *_cost(found["cost"])])


def _cost(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """Write what a request costs, by the length of its body; results of before limits were measured have none."""
    compared = {"prefix_cpu_us": "`prefix`", "limited_cpu_us": "with limits and a priority"}
    measured = [name for name in compared if all(name in point for point in points)]
    heads = "".join(f" CPU µs, {compared[name]} | times |" for name in measured)
    lines = [
        f"| body of a unary request, bytes | CPU µs, `least_in_flight` |{heads}",
        "|--:|--:|" + "--:|--:|" * len(measured),
    ]
    for point in points:
        least = point["least_in_flight_cpu_us"]
        cells = "".join(f" {point[name]:,.1f} | {point[name] / least:.2f} |" for name in measured)
        lines.append(f"| {point['body_bytes']:,} | {least:,.1f} |{cells}")
    return lines


def chart(found: Mapping[str, Any]) -> Drawing:
    """Draw the hits and the TTFT of each gateway, for each setting."""
    panels = []
    for (replicas, load), runs in _settings(found):
        heading = f"{replicas} replicas at {load:.0%}"
        panels.append((f"{heading}: % of the possible hits", [(r["gateway"], 100 * r["hit_share"]) for r in runs]))
        panels.append((f"{heading}: TTFT p90, ms", [(r["gateway"], r["p90_ttft_ms"] or 0.0) for r in runs]))
    return bar_chart("Prefix hits and time to the first token", panels, _OURS)


def misses(found: Mapping[str, Any]) -> list[str]:
    """Return the targets that were missed, in words."""
    missed = []
    for point in found["cost"]:
        times = point["prefix_cpu_us"] / point["least_in_flight_cpu_us"]
        if point["body_bytes"] == _COST_BYTES and times > _COST:
            missed.append(f"prefix: a request costs {times:.2f} times what it does without, at most {_COST} wanted")
    for (replicas, load), runs in _settings(found):
        ours = next((run for run in runs if run["gateway"] == _OURS), None)
        if ours is None or ours["p90_ttft_ms"] is None:
            continue
        where = f"prefix, {replicas} replicas at {load:.0%}"
        wanted = _HIT_SHARE.get(load, 0.0)
        if ours["hit_share"] < wanted:
            missed.append(f"{where}: {ours['hit_share']:.1%} of the possible hits, at least {wanted:.0%} are wanted")
        for run in runs:
            most = 1.0 if run["ours"] else _TTFT_SHARE
            if run is ours or run["p90_ttft_ms"] is None or ours["p90_ttft_ms"] <= most * run["p90_ttft_ms"]:
                continue
            times = ours["p90_ttft_ms"] / run["p90_ttft_ms"]
            missed.append(f"{where}: TTFT p90 is {times:.2f} times {run['gateway']}'s, at most {most:g} wanted")
    return missed


def _settings(found: Mapping[str, Any]) -> Iterator[tuple[tuple[int, float], list[Mapping[str, Any]]]]:
    for setting, runs in groupby(found["runs"], key=lambda run: (run["replicas"], run["load"])):
        yield setting, list(runs)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"
