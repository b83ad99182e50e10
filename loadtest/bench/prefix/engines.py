"""Several simulated engines in one process: ``python -m loadtest.bench.prefix.engines``."""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

import uvloop

from loadtest.simulator.profile import PROFILES, Profile
from loadtest.simulator.server import SimulatedEngine

PROFILE = "gpu-8b"
MODEL = "sim"


def profile(*, speed: float, num_blocks: int) -> Profile:
    """Give the engine that is simulated, so many times as fast, with so many blocks of KV cache."""
    return replace(PROFILES[PROFILE], num_blocks=num_blocks).faster(speed)


async def serve(number: int, modelled: Profile) -> None:
    """Serve ``number`` engines, each on a port of its own, until SIGTERM, and print their addresses."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with AsyncExitStack() as stack:
        engines = [
            await stack.enter_async_context(SimulatedEngine(MODEL, profile=modelled, recorded=0)) for _ in range(number)
        ]
        print("engines listen on", *(engine.address for engine in engines), flush=True)  # noqa: T201 - read by the bench
        await stopped.wait()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    command = argparse.ArgumentParser(prog="python -m loadtest.bench.prefix.engines", description=__doc__)
    command.add_argument("--number", type=int, required=True, metavar="N", help="of engines")
    command.add_argument("--num-blocks", type=int, required=True, metavar="N", help="of the KV cache of each")
    command.add_argument("--speed", type=float, default=1.0, metavar="X", help="of the profile's machine (%(default)s)")
    options = command.parse_args(arguments)
    uvloop.run(serve(options.number, profile(speed=options.speed, num_blocks=options.num_blocks)))


if __name__ == "__main__":
    main()
