"""Several addresses under the same load, in turns: how their results relate, and how much that varies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from gateway.http.address import Address

MEASURES = {
    "median_ttft_ms": "ttft p50 ms",
    "p99_ttft_ms": "ttft p99 ms",
    "median_tpot_ms": "tpot p50 ms",
    "median_e2el_ms": "e2el p50 ms",
    "p99_e2el_ms": "e2el p99 ms",
    "request_throughput": "requests/s",
    "request_goodput": "goodput/s",
    "failed": "failed",
}
"""What is compared, by vLLM's name, and what people read."""


@dataclass(frozen=True, slots=True)
class Target:
    """An address with the name that the results give it."""

    name: str
    url: str

    @classmethod
    def parse(cls, given: str) -> Target:
        """Read ``NAME=URL``. Raises ``ValueError``."""
        name, separator, url = given.partition("=")
        if not separator or not name or "/" in name:
            raise ValueError(f"{given!r} is not a target; one is direct=http://127.0.0.1:8001")
        Address.parse(url)
        return cls(name, url)


def turns(targets: Sequence[Target], number: int) -> list[Target]:
    """Give the order of a round: each target comes first in its turn, so that none always finds things warm."""
    first = number % len(targets)
    return [*targets[first:], *targets[:first]]


def compared(rounds: Sequence[Mapping[str, Mapping[str, Any]]], targets: Sequence[Target]) -> dict[str, Any]:
    """Relate every target to the first: medians over the rounds, and the median and range of each round's ratio.

    ``rounds`` hold a summary for each target's name. Where the first target's figure is 0 there is no ratio.
    """
    found: dict[str, Any] = {}
    for target in targets:
        measures: dict[str, Any] = {}
        for measure in MEASURES:
            pairs = [
                (each[target.name][measure], each[targets[0].name][measure])
                for each in rounds
                if each[target.name].get(measure) is not None and each[targets[0].name].get(measure) is not None
            ]
            if not pairs:
                continue
            ratios = [own / base for own, base in pairs if base]
            measures[measure] = {"median": median(own for own, _ in pairs)}
            if ratios:
                measures[measure] |= {"ratio": median(ratios), "lowest": min(ratios), "highest": max(ratios)}
        found[target.name] = measures
    return found


def rows(found: Mapping[str, Any]) -> list[list[str]]:
    """Write a comparison as the rows of a table, the head first."""
    names = list(found)
    lines = [["", *names]]
    for measure, label in MEASURES.items():
        cells = [_cell(found[name].get(measure), first=number == 0) for number, name in enumerate(names)]
        if any(cells):
            lines.append([label, *cells])
    return lines


def table(found: Mapping[str, Any], rounds: int) -> str:
    """Write a comparison for people."""
    lines = rows(found)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    written = [
        line[0].ljust(widths[0])
        + "".join(f"   {cell:>{width}}" for cell, width in zip(line[1:], widths[1:], strict=True))
        for line in lines
    ]
    first = lines[0][1]
    written.append(
        f"\nmedians of {rounds} rounds; beside them the median ratio to {first} (lowest-highest of the rounds)"
    )
    return "\n".join(written)


def _cell(measured: Mapping[str, float] | None, *, first: bool) -> str:
    if measured is None:
        return ""
    value = measured["median"]
    shown = f"{value:.0f}" if value == int(value) else f"{value:.2f}"
    if first or "ratio" not in measured:
        return shown
    return f"{shown}  x {measured['ratio']:.3f} ({measured['lowest']:.3f}-{measured['highest']:.3f})"
