"""Runs a gateway in the foreground until it is told to end, with the limits of the process that it needs."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import uvloop

from engines.errors import EngineError
from gateway.app import Gateway
from gateway.config.schema import Config
from gateway.console.startup_log import StartupLog
from gateway.core.process_tuning import freeze_gc, raise_fd_limit, set_switch_interval
from gateway.core.start_error import StartError
from gateway.core.tasks import cancelled
from gateway.reload.reloader import ConfigSource
from gateway.scaling.neighbours import FOLDER_PREFIX

_OTHER_FILES = 1024
"""Files and sockets beside those of clients and their engines: probes, logs, pipes, whatever libraries open."""


def serve(source: ConfigSource) -> int:
    """Run a gateway in the foreground until SIGTERM or SIGINT; return the exit code.

    Raises ``ConfigError`` or ``StartError``.
    """
    config = source.load()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(config, source))


async def _serve(config: Config, source: ConfigSource) -> int:
    """Start, wait for a signal, stop. A second signal ends everything at once; the shims see to the engines."""
    folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
    start_up = StartupLog(sys.stderr)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end() -> None:
        if ended.is_set():
            shutil.rmtree(folder, ignore_errors=True)
            os._exit(130)
        ended.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    # By default the system ends a process at this signal, in the middle of its streams.
    loop.add_signal_handler(signal.SIGHUP, lambda: None)
    clients = config.gateway.limits.max_connections
    if (allowed := raise_fd_limit(2 * clients + _OTHER_FILES)) < clients:
        start_up.say(f"only {allowed} files may be open (ulimit -n), too few for max_connections = {clients}")
    try:
        try:
            gateway = Gateway(config, folder, start_up, source)
        except (OSError, EngineError) as error:
            raise StartError(str(error)) from None
        set_switch_interval()
        await gateway.start()
        loop.add_signal_handler(signal.SIGHUP, gateway.commands.reload)
        await _first(gateway.fleet.settle(), ended.wait())
        freeze_gc()
        if not ended.is_set():
            start_up.show(gateway.panel())
            await ended.wait()
        start_up.say("stopping; a second signal ends everything at once")
        await gateway.stop()
        return 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _first(*coroutines: Coroutine[Any, Any, object]) -> None:
    """Wait for the first of several to end, and cancel the others."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    await cancelled(tasks)
