"""The command line of the scheduling figures: ``python -m loadtest.bench.scheduling``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
import uvloop

from loadtest.bench import machine
from loadtest.bench.scheduling import fairness, goodput, herding
from loadtest.svg.drawing import Drawing


class Figure(Protocol):
    """A module that measures one thing."""

    @property
    def measure(self) -> Callable[[Callable[[str], None]], Awaitable[Mapping[str, Any]]]:
        """Measure it, and tell the steps to the function that is given."""

    @property
    def table(self) -> Callable[[Mapping[str, Any]], str]:
        """Write what was found as a table in Markdown."""

    @property
    def chart(self) -> Callable[[Mapping[str, Any]], Drawing]:
        """Draw what was found."""

    @property
    def misses(self) -> Callable[[Mapping[str, Any]], list[str]]:
        """Name the targets that were missed, in words."""


FIGURES: Mapping[str, Figure] = {"fairness": fairness, "goodput": goodput, "herding": herding}
"""What can be measured, by name."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    command = argparse.ArgumentParser(
        prog="python -m loadtest.bench.scheduling",
        description="Measure how the gateway spreads requests, shares slots among tenants, and bears overload.",
        epilog="Files: NAME.json and NAME.svg for each figure, in --out; tables go to standard output.",
    )
    command.add_argument("figures", nargs="+", choices=FIGURES, metavar="FIGURE", help=", ".join(FIGURES))
    command.add_argument("--out", type=Path, default=Path("docs/scheduling"), metavar="DIR", help="for JSON and plots")
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, or 1 if a target was missed."""
    options = parser().parse_args(arguments)
    missed: list[str] = []
    for name in options.figures:
        figure = FIGURES[name]
        before = os.getloadavg()[0]
        found = uvloop.run(_measured(figure))
        # Engines, clients and gateway are of this load; what is more comes from elsewhere.
        load = {"load_average_before": round(before, 1), "load_average_after": round(os.getloadavg()[0], 1)}
        _save(options.out, name, {"machine": machine.described() | load, **found}, figure)
        print(f"\n{figure.table(found)}\n", flush=True)
        missed += figure.misses(found)
    print("\n".join(["missed:", *missed] if missed else ["every target was met"]))
    return 1 if missed else 0


async def _measured(figure: Figure) -> Mapping[str, Any]:
    return await figure.measure(lambda line: print(line, file=sys.stderr, flush=True))


def _save(folder: Path, name: str, found: Mapping[str, Any], figure: Figure) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    (folder / f"{name}.svg").write_text(figure.chart(found).file(), "utf-8")


if __name__ == "__main__":
    sys.exit(main())
