"""The results of a soak test as a table, and held against its targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SCRAPES_ADD = 0.1
"""How much the p99 of the added latency may rise while the gateway is scraped."""


def misses(found: Mapping[str, Any]) -> list[str]:
    """Return the targets that were missed, in words."""
    return [f"{what}: {measured}, target {target}" for what, measured, target, met in _rows(found) if not met]


def table(found: Mapping[str, Any]) -> str:
    """Write a row for each property of a run, and the latency of its events, in Markdown."""
    lines = ["| | measured | target | |", "|---|--:|--:|---|"]
    for what, measured, target, met in _rows(found):
        verdict = ("met" if met else "**missed**") if target else ""
        lines.append(f"| {what} | {measured} | {target} | {verdict} |")
    streams = found["streams"]
    direct, through = streams["direct"], streams["through"]
    lines += ["", "| from the engine's write to the client's read | p50 ms | p99 ms |", "|---|--:|--:|"]
    rows = (("without a gateway", direct), ("through the gateway", through["without_scrapes"]))
    for what, each in (*rows, ("through the gateway, scraped each second", through["with_scrapes"])):
        lines.append(f"| {what} | {each['p50_us'] / 1000:.2f} | {each['p99_us'] / 1000:.2f} |")
    return "\n".join(lines)


def _rows(found: Mapping[str, Any]) -> list[tuple[str, str, str, bool]]:
    """Return each property of a run: what it is, its value, the target if there is one, and whether that was met."""
    settings, streams, spike = found["settings"], found["streams"], found["spike"]
    added, through = streams["added_p99_us"], streams["through"]
    # Where the engine alone was as slow as with a gateway, nothing can be told from the difference.
    compared = added if added["without_scrapes"] > 0 else {name: each["p99_us"] for name, each in through.items()}
    rise = compared["with_scrapes"] / max(compared["without_scrapes"], 0.1) - 1
    gap = 10 * settings["pace"] * 1000
    lag = streams["lag"]
    complete = f"{streams['complete']:,} of {settings['streams']:,}"
    recovered = spike["recovered_after_seconds"]
    return [
        ("streams, and how long each", f"{settings['streams']:,}, {settings['seconds']:,.0f} s", "", True),
        ("streams that came to their end", complete, "all", streams["complete"] == settings["streams"]),
        ("events", f"{streams['events']:,}", "", True),
        ("events lost", f"{streams['lost']}", "0", streams["lost"] == 0),
        ("events out of order or twice", f"{streams['repeated']}", "0", streams["repeated"] == 0),
        (f"gaps over {gap:,.0f} ms by the gateway", f"{streams['long_gaps']}", "0", streams["long_gaps"] == 0),
        ("longest gap", f"{streams['longest_gap_ms']:,.0f} ms", "", True),
        (
            "change of RSS after the first minute",
            _percent(streams["resident_change"]),
            "≤ 5 %",
            streams["resident_change"] <= 0.05,
        ),
        ("p99 of the added latency", f"{added['without_scrapes'] / 1000:.2f} ms", "", True),
        ("its rise when scraped each second", _percent(rise), "≤ 10 %", rise <= _SCRAPES_ADD),
        ("event-loop lag, p99.9", f"≤ {lag['p999_below_ms']:g} ms", "≤ 20 ms", lag["p999_below_ms"] <= 20),
        ("requests refused in the spike", f"{spike['refused']:,} of {spike['requests']:,}", "", True),
        ("p99 before, and in the spike", f"{spike['before_p99_ms']:.0f}, {spike['rush_p99_ms']:.0f} ms", "", True),
        ("back to normal after the spike", f"{recovered:.1f} s", "≤ 5 s", recovered <= 5),
    ]


def _percent(share: float) -> str:
    return f"{share * 100:+.1f} %"
