"""Run a simulated engine: ``python -m loadtest.engine --port 8001 --model sim``."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from pathlib import Path

import uvloop

from loadtest.engine.batch import Timing
from loadtest.engine.faults import NO_FAULTS, Faults
from loadtest.engine.server import MAX_MODEL_LEN, SimulatedEngine


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    known = Timing()
    command = argparse.ArgumentParser(
        prog="python -m loadtest.engine",
        description="An engine that computes nothing: vLLM's shapes, a model of its timing, and faults on demand.",
        epilog="While it runs: GET /sim/counts, GET /sim/faults, PUT /sim/faults with a JSON object.",
    )
    where = command.add_mutually_exclusive_group(required=True)
    where.add_argument("--uds", metavar="PATH", help="listen on this Unix socket")
    where.add_argument("--port", type=int, metavar="N", help="listen on this port of 127.0.0.1 (0: any free one)")
    command.add_argument("--model", default="sim", metavar="NAME", help="the model's name (default: %(default)s)")
    command.add_argument(
        "--ttft", type=float, default=known.ttft, metavar="S", help="seconds to the first token (default: %(default)s)"
    )
    command.add_argument(
        "--inter-token", type=float, default=known.inter_token, metavar="S", help="seconds between tokens (%(default)s)"
    )
    command.add_argument(
        "--max-num-seqs", type=int, default=known.max_num_seqs, metavar="N", help="size of the batch (%(default)s)"
    )
    command.add_argument(
        "--max-model-len", type=int, default=MAX_MODEL_LEN, metavar="N", help="context length (%(default)s)"
    )
    command.add_argument("--seed", type=int, default=0, metavar="N", help="seed of random faults (%(default)s)")
    command.add_argument(
        "--faults", type=_read_faults, default=NO_FAULTS, metavar="FILE", help="JSON file with the faults to begin with"
    )
    return command


def _read_faults(path: str) -> Faults:
    try:
        return Faults.decode(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{path}: {error}") from error


async def serve(options: argparse.Namespace) -> None:
    """Serve until SIGINT or SIGTERM; a crash exits with status 1 at once."""
    timing = Timing(ttft=options.ttft, inter_token=options.inter_token, max_num_seqs=options.max_num_seqs)
    stopped = asyncio.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, stopped.set)
    engine = SimulatedEngine(
        options.model,
        uds=options.uds,
        port=options.port or 0,
        timing=timing,
        faults=options.faults,
        seed=options.seed,
        max_model_len=options.max_model_len,
        recorded=0,
        on_crash=lambda: os._exit(1),
    )
    async with engine:
        print(f"{options.model} listens on {engine.address}", flush=True)
        await stopped.wait()


def main() -> None:
    """Run the command line."""
    uvloop.run(serve(parser().parse_args()))


if __name__ == "__main__":
    main()
