"""Results as files: JSON as measured, charts, and the tables of a page, so that they cannot disagree."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from loadtest.bench import batch, limits, memory, scaling_report, soak_report, targets
from loadtest.bench.gpu import report as gpu_report
from loadtest.bench.prefix import report as prefix_report
from loadtest.bench.scaling import CURVES
from loadtest.svg.drawing import Drawing

PARTS = (*(curve.name for curve in CURVES), "memory", "soak", "limits", "batch", "peers", "prefix", "gpu")
"""Everything that can be measured, in the order in which it is."""

_REPORTS: Mapping[str, _Report] = {
    "batch": batch,
    "gpu": gpu_report,
    "limits": limits,
    "memory": memory,
    "peers": targets,
    "prefix": prefix_report,
    "soak": soak_report,
}
"""The modules that write a part's ``table`` and name its ``misses``; all other parts are scaling curves."""

_CHARTS: Mapping[str, Callable[[Mapping[str, Any]], Drawing]] = {
    "gpu": gpu_report.chart,
    "peers": targets.chart,
    "prefix": prefix_report.chart,
}
"""What draws those of them that have a chart."""

_BLOCK = re.compile(r"(<!-- bench: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def save(folder: Path, part: str, found: Mapping[str, Any], machine: Mapping[str, Any]) -> list[Path]:
    """Write what a part found, and its chart if it has one; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {"part": part, "machine": machine, **found}
    files = [folder / f"{part}.json"]
    files[0].write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    drawing = chart(found)
    if drawing is not None:
        files.append(folder / f"{part}.svg")
        files[1].write_text(drawing.file(), encoding="utf-8")
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
    return _report(found).table(found)


def chart(found: Mapping[str, Any]) -> Drawing | None:
    """Draw what one part found; ``None``: it has no chart."""
    draw = _CHARTS.get(found["part"])
    if draw is not None:
        return draw(found)
    return None if found["part"] in _REPORTS else scaling_report.chart(found)


def misses(found: Mapping[str, Any]) -> list[str]:
    """Return the limits that were exceeded and the targets that were missed, in words."""
    return _report(found).misses(found)


class _Report(Protocol):
    """What the modules of reports have in common."""

    def table(self, found: Mapping[str, Any], /) -> str: ...
    def misses(self, found: Mapping[str, Any], /) -> list[str]: ...


def _report(found: Mapping[str, Any]) -> _Report:
    return _REPORTS.get(found["part"], scaling_report)


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
