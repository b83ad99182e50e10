"""Results as files: JSON as measured, one plot per curve, and the tables of a page, so that they cannot disagree."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from loadtest.bench import promises
from loadtest.bench.curves import CURVES
from loadtest.bench.plot import svg

PARTS = (*(curve.name for curve in CURVES), "memory", "steadiness", "peers")
"""Everything that can be measured, in the order in which it is."""

_TITLES = {curve.name: curve.title for curve in CURVES}
_BLOCK = re.compile(r"(<!-- bench: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_SCRAPES_ADD = 0.1
"""How much the p99 of the added latency may rise while the gateway is scraped."""


def save(folder: Path, part: str, found: Mapping[str, Any], machine: Mapping[str, Any]) -> list[Path]:
    """Write what a part found, and its plot if it has one; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{part}.json"]
    files[0].write_bytes(msgspec.json.format(msgspec.json.encode({"part": part, "machine": machine, **found})) + b"\n")
    if part in _TITLES or part == "peers":
        files.append(folder / f"{part}.svg")
        files[1].write_text(promises.plot(found) if part == "peers" else _plot(part, found), encoding="utf-8")
    return files


def read(folder: Path) -> dict[str, Any]:
    """Read what has been measured, by part."""
    files = {part: folder / f"{part}.json" for part in PARTS}
    return {part: msgspec.json.decode(file.read_bytes()) for part, file in files.items() if file.exists()}


def fill(page: str, results: Mapping[str, Any]) -> str:
    """Write the tables into a page, each between ``<!-- bench: PART -->`` and ``<!-- end -->``."""

    def filled(block: re.Match[str]) -> str:
        name = block[2]
        if name == "machine" and results:
            return f"{block[1]}{_machines(results)}\n{block[3]}"
        return f"{block[1]}{table(results[name])}\n{block[3]}" if name in results else block[0]

    return _BLOCK.sub(filled, page)


def table(found: Mapping[str, Any]) -> str:
    """Write what one part found as a table in Markdown."""
    part = found["part"]
    if part == "memory":
        return _memory(found)
    if part == "peers":
        return promises.table(found)
    return _steadiness(found) if part == "steadiness" else _curve(found)


def misses(found: Mapping[str, Any]) -> list[str]:
    """Say which limits were not kept."""
    part = found["part"]
    if part == "memory":
        return [
            f"{row['what']}: {row['bytes_each'] / 1024:.1f} KiB, at most {row['limit'] / 1024:.0f} are allowed"
            for row in found["rows"]
            if row["bytes_each"] > row["limit"]
        ]
    if part == "steadiness":
        return [f"{what}: {measured}, must be {wanted}" for what, measured, wanted, kept in _judged(found) if not kept]
    if part == "peers":
        return promises.misses(found)
    limit = found["limit"]
    return [
        f"{part} {point['value']:,}: {point[found['compared']]:.1f} us per {found['per']} are "
        f"{point['times_cheapest']:.2f} "
        f"times the cheapest before, at most {limit} are allowed"
        for point in found["points"]
        if limit is not None and point["times_cheapest"] > limit
    ]


def _plot(part: str, found: Mapping[str, Any]) -> str:
    points = [(point["value"], max(point[found["compared"]], 0.01)) for point in found["points"]]
    limit = found["limit"] and found["limit"] * min(cost for _, cost in points)
    per = found["per"]
    return svg(f"What one {per} costs", _TITLES[part], f"CPU of the gateway, us per {per}", points, limit)


def _curve(found: Mapping[str, Any]) -> str:
    per, steady = found["per"], found["compared"] == "steady_cpu_us"
    columns: dict[str, Callable[[Mapping[str, Any]], str]] = {
        _TITLES[found["part"]]: lambda point: f"{point['value']:,}",
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


def _memory(found: Mapping[str, Any]) -> str:
    lines = ["| | measured with | KiB each | at most |", "|---|--:|--:|--:|"]
    for row in found["rows"]:
        each, limit = row["bytes_each"] / 1024, row["limit"] / 1024
        lines.append(f"| {row['what']} | {row['number']:,} | {each:.1f} | {limit:.0f} |")
    return "\n".join(lines)


def _steadiness(found: Mapping[str, Any]) -> str:
    lines = ["| | measured | must be | |", "|---|--:|--:|---|"]
    for what, measured, wanted, kept in _judged(found):
        lines.append(f"| {what} | {measured} | {wanted} | {'kept' if kept else '**missed**'} |")
    streams = found["streams"]
    direct, through = streams["direct"], streams["through"]
    lines += ["", "| from the engine's write to the client's read | p50 ms | p99 ms |", "|---|--:|--:|"]
    rows = (("without a gateway", direct), ("through the gateway", through["without_scrapes"]))
    for what, each in (*rows, ("through the gateway, scraped each second", through["with_scrapes"])):
        lines.append(f"| {what} | {each['p50_us'] / 1000:.2f} | {each['p99_us'] / 1000:.2f} |")
    return "\n".join(lines)


def _judged(found: Mapping[str, Any]) -> list[tuple[str, str, str, bool]]:
    """Return each property of the steadiness run: what it is, its value, its limit, and whether that was kept."""
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


def _machines(results: Mapping[str, Any]) -> str:
    """Describe what the parts were measured on: one line for each machine and commit."""
    lines: dict[str, list[str]] = {}
    for part, found in results.items():
        machine = found["machine"]
        line = (
            f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']:g} GiB, Linux {machine['kernel']}, "
            f"Python {machine['python']}, uvloop {machine['uvloop']}, httptools {machine['httptools']}, commit "
            f"{machine['commit'] or 'unknown'}, {machine['at'][:10]}"
        )
        lines.setdefault(line, []).append(part)
    return "\n".join(f"- {', '.join(parts)}: {line}" for line, parts in lines.items())
