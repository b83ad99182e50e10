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

from engines.errors import GpuError
from loadtest import traces
from loadtest.bench import batch, limits, machine, memory, peers, report, scaling, soak
from loadtest.bench.batch import BatchSettings
from loadtest.bench.cpu_affinity import load_and_gateway_cpus, pinned_to
from loadtest.bench.gpu import command as gpu
from loadtest.bench.gpu.engine import NoGpu
from loadtest.bench.gpu.turn import NothingMeasured
from loadtest.bench.launch import DidNotStart
from loadtest.bench.limits import SCENARIOS, LimitsSettings
from loadtest.bench.peer_gateways import PEERS, Peer
from loadtest.bench.prefix import gateways as prefix_gateways
from loadtest.bench.prefix import measure as prefix
from loadtest.bench.prefix.cost import measure_cost
from loadtest.bench.prefix.measure import PrefixSettings
from loadtest.bench.scaling import CURVES
from loadtest.bench.soak import SoakSettings
from loadtest.option_values import count, positive
from loadtest.traces import TraceError

_EXAMPLES = """\
examples:
  python -m loadtest.bench                          everything, in about 30 minutes; nothing else should run
  python -m loadtest.bench keys replicas            two curves
  python -m loadtest.bench soak --minutes 1         a short look at the streams
  python -m loadtest.bench prefix --trace conversation_trace.jsonl
                                                    hits in prefix caches, with Mooncake's trace
  python -m loadtest.bench gpu --calibrate costs.json
                                                    before vLLM on a GPU, and a profile for the simulator
  python -m loadtest.bench gpu --shape 135m --streams 1 4
                                                    the same without a GPU
  python -m loadtest.bench --smoke --out /tmp/b     everything in little, to see whether it works

Files: PART.json for each part and PART.svg for each curve and the peers in --out, and the tables of --page, which are
written from all JSON files in --out.
"""

_TINY = 2
"""With --smoke each curve has so many points, the smallest."""

_SMOKE_PREFIX = PrefixSettings(requests=20, replicas=(2,), loads=(0.6,), cached_share=3.0)

_SMOKE_LIMITS = LimitsSettings(keys=10, limit=10, seconds=2.0)

_SMOKE_BATCH = BatchSettings(lines=60, seconds=0.5, tokens=4, speed=1.0)

_MOST_FILES = 12_000
"""Open files that the largest number of connections needs."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    command = argparse.ArgumentParser(
        prog="python -m loadtest.bench",
        description="Measure what the gateway costs, and how that grows.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "parts",
        nargs="*",
        metavar="PART",
        help=f"what to measure: {', '.join(report.PARTS)} (all but gpu, and prefix only with --trace)",
    )
    command.add_argument("--out", type=Path, default=Path("docs/performance"), metavar="DIR", help="for JSON and plots")
    command.add_argument("--page", type=Path, metavar="FILE", help="write the tables into this page, too")
    command.add_argument(
        "--seconds", type=positive, default=1.0, metavar="S", help="for each point and round (%(default)s)"
    )
    command.add_argument(
        "--rounds", type=count, default=5, metavar="N", help="over all points of a curve, or all peers (%(default)s)"
    )
    command.add_argument("--minutes", type=positive, default=10.0, metavar="M", help="of the streams (%(default)s)")
    command.add_argument("--smoke", action="store_true", help="little of everything, for seconds: no figures")
    command.add_argument(
        "--trace",
        type=Path,
        metavar="FILE",
        help="part prefix: recorded conversations, such as github.com/kvcache-ai/Mooncake has in FAST25-release/traces",
    )
    command.add_argument(
        "--requests", type=count, default=2000, metavar="N", help="part prefix: so many of them (%(default)s)"
    )
    command.add_argument(
        "--gateway",
        action="append",
        type=_gateway,
        metavar="NAME=COMMAND",
        help="part prefix: compare this instead of ours with each policy and the peers; {port} and {urls} are filled "
        "in, and POLICY=ours is Headgate with that policy; may be repeated",
    )
    gpu.add_options(command)
    return command


def _gateway(option: str) -> prefix_gateways.Candidate:
    try:
        return prefix_gateways.given(option)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


async def run(options: argparse.Namespace, gateways: Sequence[Peer], log: Callable[[str], None]) -> int:
    """Measure the parts one after the other and write their files; return how many requests failed."""
    described = machine.described()
    failed = 0
    parts = options.parts or [part for part in report.PARTS if part != "gpu"]
    if not options.parts and options.trace is None:
        parts.remove("prefix")
    for number, part in enumerate(parts, 1):
        log(f"part {number} of {len(parts)}: {part}")
        found = await _measured(part, options, gateways, log)
        failures = found.get("failed", 0) + sum(point["failed"] for point in found.get("points", ()))
        if failures:
            log(f"{part}: {failures} requests failed")
        failed += failures
        for file in report.save(options.out, part, found, described):
            log(f"wrote {file}")
    return failed


async def _measured(
    part: str, options: argparse.Namespace, gateways: Sequence[Peer], log: Callable[[str], None]
) -> dict[str, Any]:
    if part == "memory":
        idle, streams = (100, 20) if options.smoke else (10_000, 2000)
        return await memory.measure(idle=idle, streams=streams, log=log)
    if part == "soak":
        return await soak.measure(_smoke() if options.smoke else SoakSettings(seconds=options.minutes * 60), log)
    if part == "limits":
        return await _limits(options, log)
    if part == "batch":
        return await batch.measure(_SMOKE_BATCH if options.smoke else BatchSettings(), log)
    if part == "gpu":
        return await gpu.measure(options, log)
    seconds, rounds = (0.1, 1) if options.smoke else (options.seconds, options.rounds)
    if part == "prefix":
        return await _prefix(options, log)
    if part == "peers":
        return await peers.measure(gateways, seconds=seconds, rounds=rounds, log=log)
    curve = next(curve for curve in CURVES if curve.name == part)
    values = curve.values[:_TINY] if options.smoke else curve.values
    return await scaling.measure(curve, values, seconds=seconds, rounds=rounds, log=log)


async def _limits(options: argparse.Namespace, log: Callable[[str], None]) -> dict[str, Any]:
    settings = _SMOKE_LIMITS if options.smoke else LimitsSettings()
    return await limits.measure(settings, SCENARIOS[-1:] if options.smoke else SCENARIOS, log)


async def _prefix(options: argparse.Namespace, log: Callable[[str], None]) -> dict[str, Any]:
    settings = _SMOKE_PREFIX if options.smoke else PrefixSettings(requests=options.requests)
    trace = traces.read(options.trace, settings.requests)
    candidates = options.gateway
    left_out: dict[str, str] = {}
    if candidates is None:
        candidates = [prefix_gateways.ours(policy) for policy in prefix_gateways.OUR_POLICIES]
        if not options.smoke:
            others, left_out = await prefix_gateways.peers(log)
            candidates += others
    seconds, rounds = (0.1, 1) if options.smoke else (options.seconds, options.rounds)
    found = await prefix.measure(trace, candidates, settings, log)
    return found | {"left_out": left_out, "cost": await measure_cost(seconds=seconds, rounds=rounds, log=log)}


def _smoke() -> SoakSettings:
    return SoakSettings(
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


def _check(command: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Refuse what would fail only after other parts were measured; ends the program like ``argparse``."""
    for part in options.parts:
        if part not in report.PARTS:
            command.error(f"there is no part {part!r}; the parts are: {', '.join(report.PARTS)}")
    if "prefix" in options.parts and options.trace is None:
        command.error("the part prefix needs --trace")
    for name in ("trace", "page"):
        file = getattr(options, name)
        if file is not None and not file.is_file():
            command.error(f"argument --{name}: there is no file {file}")
    if "gpu" in options.parts:
        try:
            gpu.settings(options)
        except ValueError as error:
            command.error(str(error))


def main(arguments: Sequence[str] | None = None, gateways: Sequence[Peer] = PEERS) -> int:
    """Run the command line; return 0, or 1 if a request failed, or 2 if the benchmark cannot begin."""
    command = parser()
    options = command.parse_args(arguments)
    _check(command, options)
    began = monotonic()

    def log(what: str) -> None:
        print(f"[{monotonic() - began:6.1f} s] {what}", flush=True)

    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if not options.smoke and options.parts != ["gpu"] and most < _MOST_FILES:
        print(f"{most} open files are allowed here, {_MOST_FILES} are needed; see `ulimit -Hn`", file=sys.stderr)
        return 2
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with pinned_to(load_and_gateway_cpus()[0]):
        try:
            failed = uvloop.run(run(options, gateways, log))
        except DidNotStart as error:
            print(f"a process did not start: {error}", file=sys.stderr)
            return 2
        except (TraceError, NoGpu, GpuError, NothingMeasured) as error:
            print(error, file=sys.stderr)
            return 2
    results = report.read(options.out)
    if options.page is not None:
        options.page.write_text(report.fill(options.page.read_text("utf-8"), results), "utf-8")
        log(f"wrote the tables of {options.page}")
    if not options.smoke:
        missed = [miss for found in results.values() for miss in report.misses(found)]
        print("\n".join(["", "missed:", *missed] if missed else ["", "every target was met"]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
