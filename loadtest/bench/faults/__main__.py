"""The command line of the fault figures: ``python -m loadtest.bench.faults``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import uvloop

from loadtest.bench import machine
from loadtest.bench.faults import (
    black_hole,
    departures,
    engine_core,
    ray_node,
    recovery_time,
    rolling_restart,
    scale_events,
    tuning_beside,
    tuning_kills,
)

FIGURES: Mapping[str, Callable[[Callable[[str], None]], Awaitable[Mapping[str, Any]]]] = {
    "black_hole": black_hole.measure,
    "departures": departures.measure,
    "engine_core": engine_core.measure,
    "ray_node": ray_node.measure,
    "recovery_time": recovery_time.measure,
    "rolling_restart": rolling_restart.measure,
    "scale_events": scale_events.measure,
    "tuning_beside": tuning_beside.measure,
    "tuning_kills": tuning_kills.measure,
}
"""What can be measured; each prints what it finds and returns its figures."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    command = argparse.ArgumentParser(
        prog="python -m loadtest.bench.faults",
        description="Measure what clients feel when something fails, or when a model is trained beside them.",
    )
    command.add_argument("figures", nargs="+", choices=FIGURES, metavar="FIGURE", help=", ".join(FIGURES))
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    options = parser().parse_args(arguments)
    print(machine.described())
    for name in options.figures:
        print(f"\n{name}", flush=True)
        uvloop.run(_measured(name))
    return 0


async def _measured(name: str) -> None:
    print(await FIGURES[name](lambda line: print(line, flush=True)), flush=True)


if __name__ == "__main__":
    sys.exit(main())
