"""Run a simulated engine: ``python -m loadtest.simulator --port 8001 --model sim``."""

from __future__ import annotations

import argparse
import asyncio
import gc
import math
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import uvloop

from loadtest.option_values import count, number, positive
from loadtest.simulator.batch import Timing
from loadtest.simulator.faults import NO_FAULTS, Faults
from loadtest.simulator.instant import InstantEngine
from loadtest.simulator.profile import PROFILES, Profile
from loadtest.simulator.server import MAX_MODEL_LEN, SimulatedEngine

_NEEDS: Mapping[str, Sequence[str]] = {"instant": ("hosts", "at_once"), "profile": ("speed", "num_blocks")}
"""Options that mean something only with another one."""

_CONTRADICTS: Mapping[str, Sequence[str]] = {
    "instant": ("faults", "profile", "max_num_seqs", "max_model_len", "enable_sleep_mode", "enable_lora", "seed"),
    "profile": ("ttft", "inter_token"),
}
"""Options that another one makes meaningless."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    known = Timing()
    command = argparse.ArgumentParser(
        prog="python -m loadtest.simulator",
        description="An engine that computes nothing: vLLM's shapes, a model of its timing, and faults on demand.",
        epilog="While it runs: GET /sim/counts, GET /sim/faults, PUT /sim/faults with a JSON object.",
    )
    where = command.add_mutually_exclusive_group(required=True)
    where.add_argument("--uds", metavar="PATH", help="listen on this Unix socket")
    where.add_argument("--port", type=_port, metavar="N", help="listen on this port of 127.0.0.1 (0: any free one)")
    command.add_argument(
        "--instant", action="store_true", help="answer with fixed bytes, to measure what stands in front: no faults"
    )
    command.add_argument(
        "--hosts", type=count, default=1, metavar="N", help="with --instant: listen on N addresses from 127.0.0.1 on"
    )
    command.add_argument(
        "--at-once",
        action="store_true",
        help="with --instant and no pace: write a stream's events one directly after the other",
    )
    command.add_argument("--model", default="sim", metavar="NAME", help="the model's name (default: %(default)s)")
    command.add_argument(
        "--ttft",
        type=_seconds,
        default=known.ttft,
        metavar="S",
        help="seconds to the first token (default: %(default)s)",
    )
    command.add_argument(
        "--inter-token",
        type=_seconds,
        default=known.inter_token,
        metavar="S",
        help="seconds between tokens (%(default)s)",
    )
    command.add_argument(
        "--profile", choices=sorted(PROFILES), help="model the steps, KV cache and prefix cache of this engine instead"
    )
    command.add_argument(
        "--speed", type=positive, default=1.0, metavar="X", help="make the profile's machine X times as fast"
    )
    command.add_argument(
        "--num-blocks", type=count, metavar="N", help="blocks of the profile's KV cache, instead of what it has"
    )
    command.add_argument(
        "--max-num-seqs",
        type=count,
        metavar="N",
        help=f"size of the batch (default: the profile's, or {known.max_num_seqs})",
    )
    command.add_argument(
        "--max-model-len", type=count, default=MAX_MODEL_LEN, metavar="N", help="context length (%(default)s)"
    )
    command.add_argument("--enable-sleep-mode", action="store_true", help="serve vLLM's /sleep, /wake_up, /is_sleeping")
    command.add_argument(
        "--enable-lora",
        action="store_true",
        help="take LoRA adapters at /v1/load_lora_adapter, as vLLM does with VLLM_ALLOW_RUNTIME_LORA_UPDATING=1",
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


def _port(given: str) -> int:
    if not (given.isdecimal() and int(given) < 65_536):
        raise argparse.ArgumentTypeError(f"{given!r} is not a port; expected a number from 0 to 65535")
    return int(given)


def _seconds(given: str) -> float:
    seconds = number(given, "a number of seconds")
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{given!r} is not a number of seconds, which is not negative")
    return seconds


def _check(command: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Refuse options that would change nothing; ends the program like ``argparse``."""
    given = {name for name, value in vars(options).items() if value != command.get_default(name)}
    if "instant" in given and "uds" in given:
        command.error("--instant listens on a port; give --port instead of --uds")
    for needed, names in _NEEDS.items():
        for name in names:
            if name in given and needed not in given:
                command.error(f"argument --{name.replace('_', '-')}: it changes nothing without --{needed}")
    for other, names in _CONTRADICTS.items():
        for name in names:
            if name in given and other in given:
                command.error(f"argument --{name.replace('_', '-')}: it changes nothing with --{other}")


def _profile(options: argparse.Namespace) -> Profile | None:
    """Return the engine to be modelled, as the options change it."""
    if options.profile is None:
        return None
    sizes = {"max_num_seqs": options.max_num_seqs, "num_blocks": options.num_blocks}
    given = {name: value for name, value in sizes.items() if value is not None}
    return replace(PROFILES[options.profile], **given).faster(options.speed)


async def serve(options: argparse.Namespace) -> None:
    """Serve until SIGINT or SIGTERM; a crash exits with status 1 at once."""
    if options.instant:
        await _serve_instantly(options)
        return
    size = {} if options.max_num_seqs is None else {"max_num_seqs": options.max_num_seqs}
    timing = Timing(ttft=options.ttft, inter_token=options.inter_token, **size)
    stopped = _stopped()
    engine = SimulatedEngine(
        options.model,
        uds=options.uds,
        port=options.port or 0,
        timing=timing,
        profile=_profile(options),
        faults=options.faults,
        seed=options.seed,
        max_model_len=options.max_model_len,
        recorded=0,
        on_crash=lambda: os._exit(1),
        lora=options.enable_lora,
        sleep_mode=options.enable_sleep_mode,
    )
    async with engine:
        print(f"{options.model} listens on {engine.address}", flush=True)
        await stopped.wait()


async def _serve_instantly(options: argparse.Namespace) -> None:
    stopped = _stopped()
    engine = InstantEngine(delay=options.ttft, pace=options.inter_token, at_once=options.at_once, model=options.model)
    hosts = [str(IPv4Address("127.0.0.1") + number) for number in range(options.hosts)]
    port = await engine.start(hosts, options.port)
    # Nothing that it makes for a request is part of a cycle.
    gc.freeze()
    gc.disable()
    print(f"{options.model} listens on http://{hosts[0]}:{port}", flush=True)
    await stopped.wait()
    engine.close()


def _stopped() -> asyncio.Event:
    """Return the event that SIGINT and SIGTERM set."""
    stopped = asyncio.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, stopped.set)
    return stopped


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; status 1 says that it could not listen."""
    command = parser()
    options = command.parse_args(arguments)
    _check(command, options)
    try:
        uvloop.run(serve(options))
    except OSError as error:
        sys.exit(f"cannot listen on {options.uds or f'port {options.port}'}: {error}")


if __name__ == "__main__":
    main()
