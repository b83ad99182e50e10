"""``python -m engines.tuning --uds SOCKET --settings JSON``: the tuning server. A gateway starts it."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec
from aiohttp import web

from engines.tuning.check import check_examples
from engines.tuning.child import StartChild
from engines.tuning.launcher import hold
from engines.tuning.local_child import LocalChild
from engines.tuning.ray_trainings import RayTrainings
from engines.tuning.records import TuningSettings
from engines.tuning.runner import Runner
from engines.tuning.server import Api
from engines.tuning.service import Service
from engines.tuning.store import Store


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m engines.tuning", description=__doc__)
    parser.add_argument("--uds", required=True, metavar="SOCKET", help="the Unix socket to listen on")
    parser.add_argument("--settings", required=True, metavar="JSON", help="the settings, as one object")
    options = parser.parse_args(arguments)
    try:
        settings = msgspec.json.decode(options.settings, type=TuningSettings)
    except msgspec.DecodeError as error:
        parser.error(f"--settings: {error}")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    # Whoever may connect to the socket may have files read and programs run: that is this user alone.
    os.umask(0o077)
    folder = Path(settings.folder)
    try:
        held = hold(folder)
    except OSError as error:
        print(f"error: the tuning folder {folder} cannot be held: {error.strerror}", file=sys.stderr)
        return 1
    try:
        asyncio.run(serve(options.uds, settings))
    finally:
        os.close(held)
    return 0


async def serve(socket: str, settings: TuningSettings) -> None:
    """Answer requests and run jobs until SIGTERM or SIGINT."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    store = Store(Path(settings.folder) / "jobs.sqlite3")
    service = Service(store)
    cluster = _cluster_of(settings)
    start_child: StartChild = _local_starter(settings) if cluster is None else cluster.start
    runner = service.runner = Runner(store, settings, check_examples, start_child, service.changed)
    http = web.AppRunner(Api(service).application(), access_log=None, shutdown_timeout=1.0)
    await http.setup()
    try:
        if cluster is not None:
            training = {job.id for job in store.unfinished() if job.training}
            cluster.end_left(runner.states.folder_of(job_id).log for job_id in store.ids() - training)
        runner.start()
        await web.UnixSite(http, socket).start()
        await ended.wait()
    finally:
        await runner.stop()
        if cluster is not None:
            await cluster.close()
        await http.cleanup()
        store.close()


def _local_starter(settings: TuningSettings) -> StartChild:
    return partial(LocalChild.start, threads=settings.threads, memory_bytes=settings.memory_bytes)


def _cluster_of(settings: TuningSettings) -> RayTrainings | None:
    if settings.ray is None:
        return None
    return RayTrainings(settings.ray, threads=settings.threads, memory_bytes=settings.memory_bytes)


if __name__ == "__main__":
    raise SystemExit(main())
