"""The load test's command line: ``python -m loadtest``."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from loadtest import arrivals, traces, workload
from loadtest.load import Load
from loadtest.summary import SLOS, summarise, table
from loadtest.workload import WORKLOADS, Ask

_EXAMPLES = """\
examples:
  python -m loadtest --model smollm2-135m --rate 5 --seconds 60
  python -m loadtest --model smollm2-135m --clients 8 --seconds 30 --unary
  python -m loadtest --model prompt-guard --workload classify --rate 50 --slo e2el=100
  python -m loadtest --model smollm2-135m --trace conversation.jsonl --limit 500 --scale 0.5 --save out.json

An open-loop test (--rate, --trace) sends at moments that are drawn beforehand, whatever the answers do; its lateness
says whether the client kept up. A closed-loop test (--clients) sends the next request when an answer is complete.
"""

_SDK_HEADERS = (
    ("accept-encoding", "identity"),
    ("user-agent", "AsyncOpenAI/Python"),
    ("x-stainless-lang", "python"),
    ("x-stainless-os", "Linux"),
    ("x-stainless-runtime", "CPython"),
    ("x-stainless-retry-count", "0"),
)
"""What the OpenAI SDK sends besides, so that heads are as long as they are in earnest."""

_PROMPTS = 200
"""How many different prompts are made where no trace says what is asked."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    command = argparse.ArgumentParser(
        prog="python -m loadtest",
        description="Put load on an OpenAI-compatible server and measure what its clients see.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--url", default="http://127.0.0.1:8000", help="address of the server (%(default)s)")
    command.add_argument("--model", required=True, metavar="NAME", help="the model to ask")
    command.add_argument("--workload", choices=sorted(WORKLOADS), default="chat", help="what is asked (%(default)s)")
    command.add_argument("--unary", action="store_true", help="ask for whole answers instead of streams")
    how = command.add_mutually_exclusive_group(required=True)
    how.add_argument("--rate", type=_positive, metavar="R", help="open loop: R requests per second")
    how.add_argument("--clients", type=_count, metavar="N", help="closed loop: N clients, one request each at a time")
    how.add_argument("--trace", type=Path, metavar="FILE", help="open loop: replay a Mooncake .jsonl or an Azure .csv")
    command.add_argument(
        "--arrivals", choices=("poisson", "constant"), default="poisson", help="how --rate spaces them (%(default)s)"
    )
    command.add_argument("--seconds", type=_positive, default=30.0, metavar="S", help="how long (%(default)s)")
    command.add_argument(
        "--scale", type=_positive, default=1.0, metavar="X", help="stretch a trace's time (%(default)s)"
    )
    command.add_argument("--limit", type=_count, metavar="N", help="replay the first N requests of a trace")
    command.add_argument("--input-tokens", type=_count, default=100, metavar="N", help="prompt length (%(default)s)")
    command.add_argument("--output-tokens", type=_count, default=64, metavar="N", help="answer length (%(default)s)")
    command.add_argument("--leave", type=_share, default=0.0, metavar="P", help="share of clients that go away early")
    command.add_argument("--warm-up", type=int, default=5, metavar="N", help="requests before the test (%(default)s)")
    command.add_argument(
        "--slo", type=_slo, action="append", default=[], metavar="NAME=MS", help=f"for goodput: {', '.join(SLOS)}"
    )
    command.add_argument("--seed", type=int, default=0, metavar="N", help="seed of everything random (%(default)s)")
    command.add_argument("--key-env", metavar="NAME", help="environment variable that holds the API key")
    command.add_argument("--save", type=Path, metavar="FILE", help="write the results as JSON")
    return command


def plan(options: argparse.Namespace) -> tuple[list[Ask], list[float] | None]:
    """Make all requests and, for an open loop, their moments. Raises ``TraceError``."""
    moments: list[float] | None = None
    if options.trace is not None:
        recorded = traces.read(options.trace, options.limit)
        moments = arrivals.rescaled([each.at for each in recorded], options.scale)
        sizes = [(each.prompt(options.seed), each.tokens_out) for each in recorded]
    else:
        sizes = [
            (workload.text(options.input_tokens, f"{options.seed} {number}"), options.output_tokens)
            for number in range(_PROMPTS)
        ]
        if options.rate is not None:
            if options.arrivals == "poisson":
                moments = arrivals.poisson(options.rate, options.seconds, options.seed)
            else:
                moments = arrivals.constant(options.rate, options.seconds)
    make = WORKLOADS[options.workload]
    asks = [make(options.model, prompt, tokens_out, stream=not options.unary) for prompt, tokens_out in sizes]
    return workload.leaving(asks, options.leave, options.seed) if options.leave else asks, moments


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run the test and return its summary. Raises ``TraceError``."""
    asks, moments = plan(options)
    key = os.environ.get(options.key_env) if options.key_env else None
    load = Load(options.url, key=key, headers=_SDK_HEADERS)
    progress = asyncio.create_task(_progress(load))
    try:
        if options.warm_up:
            await load.open_loop(asks, [0.0] * options.warm_up)
            load.records.clear()
            load.cpu_seconds = 0.0
        if moments is None:
            await load.closed_loop(asks, options.clients, options.seconds)
        else:
            await load.open_loop(asks, moments)
    finally:
        progress.cancel()
        with suppress(asyncio.CancelledError):
            await progress
        load.close()
    found = summarise(load.records, slos=dict(options.slo), cpu_seconds=load.cpu_seconds)
    asked = {name: value if isinstance(value, int | float) else str(value) for name, value in vars(options).items()}
    return {"options": asked, **found}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, 1 if no request was answered, 2 if the test cannot begin."""
    options = parser().parse_args(arguments)
    try:
        found = uvloop.run(run(options))
    except (traces.TraceError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    print(table(found))
    if options.save is not None:
        options.save.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
        print(f"saved to {options.save}")
    return 0 if found["completed"] else 1


async def _progress(load: Load) -> None:
    """Say every other second how far the test is."""
    while True:
        await asyncio.sleep(2)
        failed = sum(record.error is not None for record in load.records)
        print(f"{load.now:5.0f} s  {load!r}  {failed} failed", file=sys.stderr, flush=True)


def _positive(given: str) -> float:
    value = float(given)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{given} is not a positive number")
    return value


def _count(given: str) -> int:
    value = int(given)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{given} is not a number of at least 1")
    return value


def _share(given: str) -> float:
    value = float(given)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{given} is not a share between 0 and 1")
    return value


def _slo(given: str) -> tuple[str, float]:
    name, separator, limit = given.partition("=")
    if name not in SLOS or not separator:
        raise argparse.ArgumentTypeError(f"{given!r} is not an objective; one is ttft=200 (of {', '.join(SLOS)})")
    return name, float(limit)


if __name__ == "__main__":
    sys.exit(main())
