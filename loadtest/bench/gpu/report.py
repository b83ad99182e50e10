"""What the gateway costs in front of a real engine, as tables, as a chart, and held against the targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loadtest.svg.drawing import Drawing
from loadtest.svg.line_chart import Line, line_chart

LEAST_SHARE = 0.99
"""Of the tokens per second that the engine brings without a gateway."""

MOST_ADDED_MS = 1.0
"""To the median time to the first token."""

MOST_TIMES = 1.01
"""Of the median time per output token without a gateway."""

MOST_CORES = 0.2
"""For each 10,000 tokens per second, without what the gateway uses when it is idle."""

_NAMES = {"direct": "without a gateway", "gateway": "through the gateway"}


def table(found: Mapping[str, Any]) -> str:
    """Write a row for each number of streams, once streamed and once unary, in Markdown."""
    engine, knee = found["engine"], found["knee"]
    lines = [
        f"vLLM {engine['vllm']} on {engine['gpu'] or 'the CPU'}, with a model of the shape `{found['shape']}`. Prompts "
        f"have {found['prompt']} tokens, responses {found['response']}; medians of {found['rounds']} rounds. Each pair "
        f"is without a gateway, and through it. An idle gateway uses {found['idle_cores']:.1%} of a core, which is not "
        "in its cores per 10,000 tokens/s."
    ]
    if knee is not None:
        said = "is at" if knee["full"] else "was not found up to"
        lines[0] += f" The knee {said} {knee['streams']} streams."
    streamed = [point for point in found["points"] if point["mode"] == "streamed"]
    unary = [point for point in found["points"] if point["mode"] == "unary"]
    lines += [
        "",
        "| streams | tokens/s | share | TTFT p50 ms | TTFT p99 ms | TPOT p50 ms | TPOT p99 ms "
        "| the gateway's cores | cores per 10,000 tokens/s | failed |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [_row(point, ("ttft_p50_ms", "ttft_p99_ms", "tpot_p50_ms", "tpot_p99_ms")) for point in streamed]
    lines += [
        "",
        "| unary requests at once | tokens/s | share | E2E p50 ms | E2E p99 ms | the gateway's cores "
        "| cores per 10,000 tokens/s | failed |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [_row(point, ("e2e_p50_ms", "e2e_p99_ms")) for point in unary]
    return "\n".join([*lines, "", "![Tokens per second](performance/gpu.svg)"])


def chart(found: Mapping[str, Any]) -> Drawing:
    """Draw the tokens per second of both sides over the number of streams."""
    points = [point for point in found["points"] if point["mode"] == "streamed"]
    lines = [
        Line(
            name,
            [(point["streams"], point[side]["tokens_per_second"]) for point in points],
            marked=True,
            guide=side == "direct",
        )
        for side, name in _NAMES.items()
    ]
    ticks = [point["streams"] for point in points]
    return line_chart(
        f"Streams of vLLM, {found['shape']} on {found['engine']['gpu'] or 'the CPU'}",
        lines,
        x="streams at once",
        y="output tokens per second",
        log_x=len(ticks) > 1,
        x_ticks=ticks,
    )


def misses(found: Mapping[str, Any]) -> list[str]:
    """Return the targets that were missed, in words."""
    missed = []
    for point in found["points"]:
        where = f"gpu, {point['streams']} {point['mode']}"
        if point["share"] < LEAST_SHARE:
            missed.append(f"{where}: {point['share']:.2%} of the tokens/s, at least {LEAST_SHARE:.0%} are wanted")
        if point.get("ttft_added_ms", 0.0) > MOST_ADDED_MS:
            missed.append(f"{where}: TTFT p50 + {point['ttft_added_ms']:.2f} ms, at most {MOST_ADDED_MS:g} wanted")
        if point.get("tpot_times", 1.0) > MOST_TIMES:
            missed.append(f"{where}: TPOT p50 times {point['tpot_times']:.3f}, at most {MOST_TIMES:g} wanted")
        cores = point["gateway"]["cores_per_10k"]
        if cores > MOST_CORES:
            missed.append(f"{where}: {cores:.2f} cores per 10,000 tokens/s, at most {MOST_CORES:g} wanted")
    return missed


def _row(point: Mapping[str, Any], latencies: tuple[str, ...]) -> str:
    direct, gateway = point["direct"], point["gateway"]
    cells = [f"{point['streams']:,}", f"{direct['tokens_per_second']:,.0f}, {gateway['tokens_per_second']:,.0f}"]
    cells.append(f"{point['share']:.1%}")
    cells += [f"{direct[name]:,.2f}, {gateway[name]:,.2f}" for name in latencies]
    cells += [f"{gateway['cores']:.3f}", f"{gateway['cores_per_10k']:.3f}", f"{point['failed']}"]
    return "| " + " | ".join(cells) + " |"
