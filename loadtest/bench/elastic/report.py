"""What was found of the rules of scaling, as a table and as plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from loadtest.svg.drawing import Drawing
from loadtest.svg.line_chart import Line, line_chart, thinned


def table(runs: Sequence[Mapping[str, Any]]) -> str:
    """Write a row for each traffic, start-up time and rule, in Markdown."""
    lines = [
        "| traffic | start, s | rule | within the objective | of the fixed fleet's goodput | of its replica-seconds | "
        "changes |",
        "|---|--:|---|--:|--:|--:|--:|",
    ]
    for run in runs:
        name = f"**{run['rule']}**" if run["rule"] == "headgate" else run["rule"]
        share = f"{run['attained']:.1%} | {run['goodput_share']:.1%} | {run['replica_seconds_share']:.1%}"
        lines.append(f"| {run['traffic']} | {run['start_seconds']:g} | {name} | {share} | {run['changes']} |")
    return "\n".join(lines)


def chart(run: Mapping[str, Any], target: float) -> Drawing:
    """Draw the replicas of a run over what its demand needed."""
    needed = [(second / 60, each / target) for second, each in enumerate(run["demand"])]
    replicas = [(second / 60, float(each)) for second, each in enumerate(run["replicas"])]
    lines = [
        Line("needed", thinned(needed), guide=True),
        Line("replicas, starting ones too", thinned(replicas), stepped=True),
    ]
    return line_chart(f"Replicas that follow demand, {run['traffic']}", lines, x="minutes", y="replicas")
