"""``python -m loadtest.simulator.calibration --model NAME``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import msgspec
import uvloop

from loadtest.simulator.calibration.fit import fit, profile_text, table
from loadtest.simulator.calibration.measurement import measure, mixed
from loadtest.simulator.profile import COSTS
from loadtest.summary import summarise
from loadtest.summary import table as summary

_EXAMPLES = """\
examples:
  python -m loadtest.simulator.calibration --model smollm2-135m --save costs.json     measure, and print a Profile(...)
  python -m loadtest.simulator.calibration --model smollm2-135m --mixed               what a mixed load sees, to compare
  python -m loadtest.simulator --port 8001 --model smollm2-135m --profile smollm2-135m-cpu --max-model-len 2048
  python -m loadtest.simulator.calibration --model smollm2-135m --mixed --url http://127.0.0.1:8001
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    command = argparse.ArgumentParser(
        prog="python -m loadtest.simulator.calibration",
        description="Measure a real engine, which should have nothing else to do, and fit the simulator's costs to it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--url", default="http://127.0.0.1:8000", help="the engine, or a gateway before it")
    command.add_argument("--model", required=True, metavar="NAME", help="the model to ask")
    command.add_argument(
        "--prompts", type=int, nargs="+", default=[16, 64, 256, 512, 1024, 1900], metavar="N", help="prompt lengths"
    )
    command.add_argument(
        "--at-once", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32], metavar="N", help="sizes of the waves"
    )
    command.add_argument("--mixed", action="store_true", help="put a mixed load on it instead, and sum up")
    command.add_argument("--rate", type=float, default=1.0, metavar="R", help="requests per second of --mixed")
    command.add_argument("--seconds", type=float, default=60.0, metavar="S", help="how long --mixed lasts")
    command.add_argument("--save", type=Path, metavar="FILE", help="write what was measured as JSON")
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, or 1 if a request failed."""
    options = parser().parse_args(arguments)
    try:
        found = _mixed(options) if options.mixed else _fitted(options)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    if options.save is not None:
        options.save.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    return 0


def _mixed(options: argparse.Namespace) -> object:
    records = uvloop.run(mixed(options.url, options.model, rate=options.rate, seconds=options.seconds))
    found = summarise(records)
    print(summary(found))
    return found


def _fitted(options: argparse.Namespace) -> object:
    # Long prompts tell what attention costs; many of them at once would take minutes.
    waves = [(each, 32) for each in options.at_once] + [(each, 512) for each in options.at_once if 2 < each < 10]
    points = uvloop.run(
        measure(
            options.url, options.model, prompts=options.prompts, waves=waves, tell=lambda what: print(what, flush=True)
        )
    )
    costs = fit(points)
    named = dict(zip(COSTS, costs, strict=True))
    print(f"\n{table(points, costs)}\n")
    print(profile_text(costs))
    return {"model": options.model, "costs": named, "points": [asdict(point) for point in points]}


if __name__ == "__main__":
    sys.exit(main())
