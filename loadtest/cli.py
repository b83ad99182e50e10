"""The load test from the command line: one test, a ramp, or a comparison, and what is written of it."""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from loadtest import arguments, compare, preflight, ramp, summary, traces
from loadtest.compare import Target
from loadtest.load import Load
from loadtest.plan import LoadPlan, LoadResult, RequestShape, run_plan
from loadtest.preflight import CannotBegin
from loadtest.progress import Progress
from loadtest.queuewatch import QueueWatch
from loadtest.ramp import Step
from loadtest.record import Record
from loadtest.report import Page, render
from loadtest.traces import TraceRequest

_SDK_HEADERS = (
    ("accept-encoding", "identity"),
    ("user-agent", "AsyncOpenAI/Python"),
    ("x-stainless-lang", "python"),
    ("x-stainless-os", "Linux"),
    ("x-stainless-runtime", "CPython"),
    ("x-stainless-retry-count", "0"),
)
"""What the OpenAI SDK sends besides, so that heads are as long as they are in production."""

_ATTAINMENT = 0.95
"""Which share of requests has to meet the objectives for a rate to count as met, if nothing else is said."""

NOTHING_ANSWERED = 1
CANNOT_BEGIN = 2
INTERRUPTED = 130


class CannotWrite(Exception):
    """A file of results could not be written at the end; the message says which, and why."""


def main(given: Sequence[str] | None = None, prog: str = "python -m loadtest") -> int:
    """Run the command line, as ``prog``; return 0, 1 if nothing was answered or no rate met, 2 if it cannot begin.

    It is 2 also where the results could not be written.
    """
    given = list(sys.argv[1:] if given is None else given)
    if given[:1] == ["compare"]:
        command = arguments.compare_parser(f"{prog} compare")
        options = command.parse_args(given[1:])
        run = _comparison
    else:
        command = arguments.parser(prog)
        options = command.parse_args(given)
        run = _test if options.ramp is None else _ramp
    arguments.check(command, options)
    options.command = shlex.join([*prog.split(), *given])
    try:
        options.recorded = traces.read(options.trace, options.limit) if options.trace is not None else []
        return uvloop.run(run(options, Progress()))
    except (traces.TraceError, CannotBegin, CannotWrite) as error:
        sys.stderr.write(f"{error}\n")
        return CANNOT_BEGIN
    except KeyboardInterrupt:
        return INTERRUPTED


def shape_of(options: argparse.Namespace) -> RequestShape:
    """Return what requests look like."""
    return RequestShape(
        parts=options.parts,
        input_tokens=options.input_tokens,
        output_tokens=options.output_tokens,
        stream=not options.unary,
        leave=options.leave,
        seed=options.seed,
    )


def plan_of(options: argparse.Namespace, salt: str = "") -> LoadPlan:
    """Make the requests of a test and their moments; other ``salt``, other words. Raises ``CannotBegin``."""
    shape = shape_of(options)
    if options.trace is not None:
        recorded: Sequence[TraceRequest] = options.recorded
        return LoadPlan.of_trace(shape, recorded, options.scale, salt=salt)
    if options.clients is not None:
        return LoadPlan.with_clients(shape, options.clients, options.seconds, salt=salt)
    evenly = options.arrivals == "constant"
    plan = LoadPlan.at_rate(shape, options.rate, options.seconds, evenly=evenly, salt=salt)
    if not plan.moments:
        raise CannotBegin(f"at {options.rate:g}/s no request falls into {options.seconds:g} s; give longer --seconds")
    return plan


async def _test(options: argparse.Namespace, progress: Progress) -> int:
    plan = plan_of(options)
    async with _begun(options, options.url, progress) as load, _watched(options, load) as watch:
        with progress.showing(load):
            result = await run_plan(plan, load)
    if not result.records:
        return INTERRUPTED
    found = _summary(options, result)
    _say(summary.table(found))
    kinds = sorted({record.kind for record in result.records})
    series = {kind: [each for each in result.records if each.kind == kind] for kind in kinds}
    _write(
        options,
        found,
        Page(
            about=_about(options),
            command=options.command,
            found=found,
            series=series,
            timeline=result.records,
            queue=[] if watch is None else watch.samples,
        ),
    )
    return 0 if found["completed"] else NOTHING_ANSWERED


async def _ramp(options: argparse.Namespace, progress: Progress) -> int:
    slos, shape = dict(options.slo), shape_of(options)
    attainment = _ATTAINMENT if options.attainment is None else options.attainment
    evenly = options.arrivals == "constant"
    async with _begun(options, options.url, progress) as load, _watched(options, load) as watch:

        async def attempt(rate: float, seconds: float, number: int) -> Step | None:
            plan = LoadPlan.at_rate(shape, rate, seconds, evenly=evenly, salt=f"step {number}")
            with progress.showing(load, f"{rate:.2f}/s  "):
                result = await run_plan(plan, load)
            if load.stopped:
                return None
            found = _summary(options, result)
            reason = ramp.judge(result.records, found, slos, attainment)
            step = Step(rate, seconds, result.records, found, reason)
            _say(str(step))
            return step

        steps = await ramp.climb(attempt, options.ramp, options.seconds)
    if not steps:
        return INTERRUPTED
    knee = ramp.knee(steps)
    _say(f"\n{ramp.conclusion(knee)}\n")
    shown = max((step for step in steps if step.reason is None), key=lambda step: step.rate, default=steps[0])
    _say(summary.table(shown.found))
    saved = {
        **shown.found,
        **knee,
        "steps": [{"rate": step.rate, "reason": step.reason, **step.found} for step in steps],
    }
    _write(
        options,
        saved,
        Page(
            about=_about(options),
            command=options.command,
            found=shown.found,
            steps=steps,
            knee=knee,
            series={f"{step.rate:.2f}/s": step.records for step in _around(steps, shown.rate)},
            timeline=[record for step in steps for record in step.records],
            queue=[] if watch is None else watch.samples,
        ),
    )
    return 0 if knee["knee_rate"] is not None else NOTHING_ANSWERED


async def _comparison(options: argparse.Namespace, progress: Progress) -> int:
    targets: list[Target] = options.target
    rounds: list[dict[str, dict[str, Any]]] = []
    pooled: dict[str, list[Record]] = {target.name: [] for target in targets}
    for number in range(options.rounds):
        found: dict[str, dict[str, Any]] = {}
        for target in compare.turns(targets, number):
            plan = plan_of(options, f"round {number} {target.name}")
            async with _begun(options, target.url, progress) as load:
                with progress.showing(load, f"round {number + 1}/{options.rounds} {target.name}  "):
                    result = await run_plan(plan, load)
                stopped = load.stopped
            if stopped:
                break
            found[target.name] = _summary(options, result)
            pooled[target.name] += result.records
        if len(found) < len(targets):
            break
        rounds.append(found)
    if not rounds:
        return INTERRUPTED
    related = compare.compared(rounds, targets)
    _say(compare.table(related, len(rounds)))
    # Of each target the last warning of its sort: those of other rounds differ in their figures only.
    warned = [
        f"{name}: {warning}"
        for name in pooled
        for warning in {each.partition("(")[0]: each for one in rounds for each in one[name]["warnings"]}.values()
    ]
    for each in warned:
        _say(f"warning: {each}")
    errors = Counter[str]()
    for one in rounds:
        for name, part in one.items():
            errors.update({f"{name}: {error}": number for error, number in part["errors"].items()})
    saved = {"targets": {target.name: target.url for target in targets}, "compared": related, "rounds": rounds}
    _write(
        options,
        saved,
        Page(
            about=_about(options),
            command=options.command,
            found={"warnings": warned, "errors": errors},
            series=pooled,
            comparison=compare.rows(related),
        ),
    )
    return 0 if all(part["completed"] for one in rounds for part in one.values()) else NOTHING_ANSWERED


@asynccontextmanager
async def _begun(options: argparse.Namespace, url: str, progress: Progress) -> AsyncIterator[Load]:
    """Open a load on an address, see that it answers, and warm it up. Ctrl-C then stops the load, not the program."""
    key = os.environ[options.key_env] if options.key_env else None
    load = Load(url, key=key, headers=_SDK_HEADERS, timeout=options.timeout)
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(signal.SIGINT, load.stop)
        shape, salt = shape_of(options), f"warm-up {url}"
        with progress.showing(load, "warm-up  "):
            await preflight.check(load, shape.one_of_each(salt), key=key)
            await load.open_loop(shape.requests(options.warm_up, salt), [0.0] * options.warm_up)
        yield load
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        load.close()


@asynccontextmanager
async def _watched(options: argparse.Namespace, load: Load) -> AsyncIterator[QueueWatch | None]:
    """Watch the server's queue, if its metrics are named."""
    if options.metrics is None:
        yield None
        return
    watch = QueueWatch(options.metrics, lambda: load.now)
    await watch.check()
    task = asyncio.create_task(watch.run())
    try:
        yield watch
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _summary(options: argparse.Namespace, result: LoadResult) -> dict[str, Any]:
    return summary.summarise(result.records, slos=dict(options.slo), cpu_seconds=result.cpu_seconds)


def _about(options: argparse.Namespace) -> str:
    models = ", ".join(f"{part.kind} of {part.model}" for part in options.parts)
    if options.trace is not None:
        how = f"replaying {options.trace.name}"
    elif options.clients is not None:
        how = f"with {options.clients} clients"
    elif getattr(options, "ramp", None) is not None:
        how = "ramp for " + ", ".join(f"{name} {limit:g} ms" for name, limit in options.slo)
    else:
        how = f"at {options.rate:g}/s"
    where = " and ".join(each.name for each in getattr(options, "target", [])) or options.url
    return f"{models} at {where}, {how}, {datetime.now().astimezone():%Y-%m-%d %H:%M %Z}"


def _around(steps: Sequence[Step], rate: float) -> list[Step]:
    """Choose the six steps next to a rate, the lowest first, so that a plot stays readable."""
    return sorted(sorted(steps, key=lambda step: abs(step.rate - rate))[:6], key=lambda step: step.rate)


def _write(options: argparse.Namespace, found: dict[str, Any], page: Page) -> None:
    """Write the files that were asked for. Raises ``CannotWrite``, after the others are written."""
    outputs: list[tuple[Path, bytes, str]] = []
    if options.save is not None:
        told = {
            "date": f"{datetime.now():%Y%m%d-%H%M%S}",
            "backend": "+".join(part.kind for part in options.parts),
            "model_id": ", ".join(dict.fromkeys(part.model for part in options.parts)),
            "request_rate": options.rate if options.rate is not None else "inf",
            "max_concurrency": options.clients,
            "command": options.command,
        }
        saved = msgspec.json.format(msgspec.json.encode(told | found)) + b"\n"
        outputs.append((options.save, saved, "saved to"))
    if options.report is not None:
        outputs.append((options.report, render(page).encode(), "report in"))
    lost = []
    for path, data, done in outputs:
        try:
            path.write_bytes(data)
        except OSError as error:
            lost.append(f"{path} could not be written: {error.strerror}")
        else:
            _say(f"{done} {path}")
    if lost:
        raise CannotWrite("\n".join(lost))


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
