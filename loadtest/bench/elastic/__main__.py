"""The command that compares rules of scaling: ``python -m loadtest.bench.elastic TRACE``."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from gateway.scaling.decide import ScalingRule
from loadtest import traces
from loadtest.bench.elastic import report
from loadtest.bench.elastic.clairvoyant import clairvoyant
from loadtest.bench.elastic.fleet import FleetRun, FleetSettings, Rule, simulate
from loadtest.bench.elastic.rules import Fixed, HorizontalPodAutoscaler, KnativePodAutoscaler, Ours, RayServe
from loadtest.bench.elastic.traffic import day
from loadtest.simulator.profile import PROFILES
from loadtest.traces import TraceError, TraceRequest

_EXAMPLES = """\
examples:
  python -m loadtest.bench.elastic AzureLLMInferenceTrace_code.csv            all, in half an hour
  python -m loadtest.bench.elastic trace.csv --start 40 --out /tmp/scaling    one start-up time

The trace's format is that of github.com/Azure/AzurePublicDataset (LLM inference 2023), or Mooncake's.
Files: scaling.json and a plot for each traffic at 40 s, in --out; the table goes to standard output.
"""

_PROFILE = "gpu-8b"
_TARGET = 3.0
_ATTAINED = 0.99
_MOST = 64
_SHARES = (0.98, 0.99)
"""For which shares of the fixed fleet's goodput the cheapest schedule is looked for."""
_PLOTTED = 40.0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    command = argparse.ArgumentParser(
        prog="python -m loadtest.bench.elastic",
        description="Compare rules of scaling on simulated engines in virtual time: what they attain, at what cost.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("trace", type=Path, metavar="TRACE", help="recorded requests")
    command.add_argument("--requests", type=_count, metavar="N", help="only so many of them")
    command.add_argument(
        "--start",
        type=_seconds,
        nargs="+",
        default=[0.0, 10.0, 40.0, 120.0],
        metavar="S",
        help="how long the start of a replica takes, in seconds (0 10 40 120)",
    )
    command.add_argument(
        "--queue-timeout",
        type=_some_seconds,
        default=math.inf,
        metavar="S",
        help="refuse what has waited so long, in seconds, as the gateway's queue_timeout does (never)",
    )
    command.add_argument("--out", type=Path, default=Path("docs/scaling"), metavar="DIR", help="for JSON and plots")
    return command


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 on")
    return value


def _some_seconds(text: str) -> float:
    if not (value := _seconds(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def compare(
    traffic: str,
    trace: Sequence[TraceRequest],
    starts: Sequence[float],
    log: Callable[[str], None],
    queue_timeout: float = math.inf,
) -> Iterator[dict[str, Any]]:
    """Measure each rule at each start-up time, beside the smallest fixed fleet that meets the objective."""
    fleets = _fixed_fleets(trace, queue_timeout)
    number, fixed = len(fleets), fleets[-1]
    log(f"{traffic}: a fixed fleet of {number} attains {fixed.attained:.1%}")
    for start in starts:
        settings = FleetSettings(PROFILES[_PROFILE], start, queue_timeout=queue_timeout)

        def row(name: str, run: FleetRun, start: float = start) -> dict[str, Any]:
            made = _row(traffic, start, name, run, fixed)
            shares = f"{made['goodput_share']:.1%} for {made['replica_seconds_share']:.1%}"
            log(f"{traffic}, start {start:g} s, {name}: {shares}")
            return made

        yield row(f"fixed, {number}", fixed)
        for name, rule in _rules(number, start).items():
            yield row(name, simulate(trace, settings, rule, at_first=1))
        for share in _SHARES:
            yield row(f"clairvoyant, {share:.0%}", clairvoyant(trace, settings, fleets, share))


def _rules(most: int, start: float) -> Mapping[str, Rule]:
    """Give all rules the same target and the fixed fleet's size as their most."""
    return {
        "headgate": Ours(ScalingRule(1, most, _TARGET, 300.0), start),
        "HPA": HorizontalPodAutoscaler(_TARGET, most),
        "KPA": KnativePodAutoscaler(_TARGET, most),
        "Ray Serve": RayServe(_TARGET, most),
    }


def _fixed_fleets(trace: Sequence[TraceRequest], queue_timeout: float) -> Sequence[FleetRun]:
    """Measure fleets of one replica and more, up to the smallest that meets the objective for so many requests."""
    settings = FleetSettings(PROFILES[_PROFILE], 0.0, queue_timeout=queue_timeout)
    runs: list[FleetRun] = []
    for number in range(1, _MOST + 1):
        run = simulate(trace, settings, Fixed(number), at_first=number)
        runs.append(run)
        if run.attained >= _ATTAINED:
            return runs
    raise TraceError(f"{_MOST} replicas attain {run.attained:.1%}, less than {_ATTAINED:.0%}; give fewer requests")


def _row(traffic: str, start: float, rule: str, run: FleetRun, fixed: FleetRun) -> dict[str, Any]:
    return {
        "traffic": traffic,
        "start_seconds": start,
        "rule": rule,
        "attained": run.attained,
        "goodput_share": run.attained / fixed.attained,
        "replica_seconds": run.replica_seconds,
        "replica_seconds_share": run.replica_seconds / fixed.replica_seconds,
        "changes": run.changes,
        "demand": run.demand,
        "replicas": run.replicas,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, or 2 if the trace cannot be read or nothing written."""
    options = parser().parse_args(arguments)
    began = monotonic()

    def log(what: str) -> None:
        print(f"[{monotonic() - began:6.1f} s] {what}", file=sys.stderr, flush=True)

    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"--out {options.out}: {error.strerror}", file=sys.stderr)
        return 2
    try:
        recorded = traces.read(options.trace, options.requests)
        runs = list(compare("trace", recorded, options.start, log, options.queue_timeout))
        runs += compare("day", day(recorded), options.start, log, options.queue_timeout)
    except TraceError as error:
        print(error, file=sys.stderr)
        return 2
    for run in runs:
        if run["rule"] == "headgate" and run["start_seconds"] == _PLOTTED:
            (options.out / f"{run['traffic']}.svg").write_text(report.chart(run, _TARGET).file(), "utf-8")
    kept = [{key: value for key, value in run.items() if key not in ("demand", "replicas")} for run in runs]
    (options.out / "scaling.json").write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
    print(report.table(runs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
