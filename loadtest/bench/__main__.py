"""The benchmark's command line: ``python -m loadtest.bench``."""

from __future__ import annotations

import argparse
import resource
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import uvloop

from loadtest.bench import comparison, curves, machine, memory, report, steadiness
from loadtest.bench.cores import cores, on
from loadtest.bench.curves import CURVES
from loadtest.bench.deployment import DidNotStart
from loadtest.bench.peers import PEERS, Peer
from loadtest.bench.steadiness import Settings

_EXAMPLES = """\
examples:
  python -m loadtest.bench                          everything, in about 30 minutes; nothing else should run
  python -m loadtest.bench keys replicas            two curves
  python -m loadtest.bench steadiness --minutes 1   a short look at the streams
  python -m loadtest.bench --smoke --out /tmp/b     everything in little, to see whether it works

Files: PART.json for each part and PART.svg for each curve and the peers in --out, and the tables of --page, which are
written from all JSON files in --out.
"""

_TINY = 3
"""With --smoke each curve has so many points, the smallest."""

_MOST_FILES = 12_000
"""Open files that the largest crowd needs."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    command = argparse.ArgumentParser(
        prog="python -m loadtest.bench",
        description="Measure what the gateway costs, and how that grows.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("parts", nargs="*", metavar="PART", help=f"what to measure: {', '.join(report.PARTS)} (all)")
    command.add_argument("--out", type=Path, default=Path("docs/performance"), metavar="DIR", help="for JSON and plots")
    command.add_argument("--page", type=Path, metavar="FILE", help="write the tables into this page, too")
    command.add_argument(
        "--seconds", type=float, default=1.0, metavar="S", help="for each point and round (%(default)s)"
    )
    command.add_argument(
        "--rounds", type=int, default=5, metavar="N", help="over all points of a curve, or all peers (%(default)s)"
    )
    command.add_argument("--minutes", type=float, default=10.0, metavar="M", help="of the streams (%(default)s)")
    command.add_argument("--smoke", action="store_true", help="little of everything, for seconds: no figures")
    return command


async def run(options: argparse.Namespace, peers: Sequence[Peer], tell: Callable[[str], None]) -> int:
    """Measure the parts one after the other and write their files; return how many requests failed."""
    described = machine.described()
    failed = 0
    parts = options.parts or report.PARTS
    for number, part in enumerate(parts, 1):
        tell(f"part {number} of {len(parts)}: {part}")
        found = await _measured(part, options, peers, tell)
        failures = found.get("failed", 0) + sum(point["failed"] for point in found.get("points", ()))
        if failures:
            tell(f"{part}: {failures} requests failed")
        failed += failures
        for file in report.save(options.out, part, found, described):
            tell(f"wrote {file}")
    return failed


async def _measured(
    part: str, options: argparse.Namespace, peers: Sequence[Peer], tell: Callable[[str], None]
) -> dict[str, Any]:
    if part == "memory":
        idle, streams = (100, 20) if options.smoke else (10_000, 2000)
        return await memory.measure(idle=idle, streams=streams, tell=tell)
    if part == "steadiness":
        return await steadiness.measure(_smoke() if options.smoke else Settings(seconds=options.minutes * 60), tell)
    seconds, rounds = (0.1, 1) if options.smoke else (options.seconds, options.rounds)
    if part == "peers":
        return await comparison.measure(peers, seconds=seconds, rounds=rounds, tell=tell)
    curve = next(curve for curve in CURVES if curve.name == part)
    values = curve.values[:_TINY] if options.smoke else curve.values
    return await curves.measure(curve, values, seconds=seconds, rounds=rounds, tell=tell)


def _smoke() -> Settings:
    return Settings(
        streams=10,
        seconds=2.0,
        segment=0.5,
        direct_seconds=0.5,
        slots=4,
        rate=20.0,
        spike_rate=200.0,
        spike_seconds=0.5,
        around_seconds=1.0,
    )


def main(arguments: Sequence[str] | None = None, peers: Sequence[Peer] = PEERS) -> int:
    """Run the command line; return 0, or 1 if a request failed, or 2 if the benchmark cannot begin."""
    command = parser()
    options = command.parse_args(arguments)
    for part in options.parts:
        if part not in report.PARTS:
            command.error(f"there is no part {part!r}; the parts are: {', '.join(report.PARTS)}")
    began = monotonic()

    def tell(what: str) -> None:
        print(f"[{monotonic() - began:6.1f} s] {what}", flush=True)

    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if not options.smoke and most < _MOST_FILES:
        print(f"{most} open files are allowed here, {_MOST_FILES} are needed; see `ulimit -Hn`", file=sys.stderr)
        return 2
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with on(cores()[0]):
        try:
            failed = uvloop.run(run(options, peers, tell))
        except DidNotStart as error:
            print(f"a process did not start: {error}", file=sys.stderr)
            return 2
    results = report.read(options.out)
    if options.page is not None:
        options.page.write_text(report.fill(options.page.read_text("utf-8"), results), "utf-8")
        tell(f"wrote the tables of {options.page}")
    if not options.smoke:
        missed = [miss for found in results.values() for miss in report.misses(found)]
        print("\n".join(["", "not kept:", *missed] if missed else ["", "every limit was kept"]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
