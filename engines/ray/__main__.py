"""One replica on a node of a Ray cluster: the entry point of its job (``python -m engines.ray``).

It brings the model's files, starts the engine, and ends with it. The engine never outlives this process, however that
ends, because it runs below a shim whose lifeline is a pipe from here.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from types import FrameType

from engines.errors import ContentError, EngineError
from engines.files.sources import default_cache
from engines.launchers import LAUNCHERS
from engines.processes.gpus import available
from engines.processes.shim_command import shim_command
from engines.ray.order import USELESS, Order
from engines.spec import Launcher


def main(environment: Mapping[str, str] = os.environ, launchers: Mapping[str, Launcher] = LAUNCHERS) -> int:
    """Run the engine that is ordered until it ends or SIGTERM comes, and return its exit code."""
    try:
        order = Order.read(environment)
        command, added = _command(order, launchers)
    except ContentError as error:
        print(f"error: {error}", file=sys.stderr)
        return USELESS
    except (EngineError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    engine = subprocess.Popen(command, env={**environment, **added}, stdin=subprocess.PIPE)

    def end(_number: int, _frame: FrameType | None) -> None:
        engine.terminate()

    signal.signal(signal.SIGTERM, end)
    return engine.wait()


def _command(order: Order, launchers: Mapping[str, Launcher]) -> tuple[tuple[str, ...], Mapping[str, str]]:
    """Bring the files, and say how the engine is started. Raises ``EngineError`` or ``OSError``."""
    spec, launcher = order.spec, launchers[order.engine]
    with socket.socket() as probe:
        # A port that is taken is better found now than after minutes of loading.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("", order.port))
    folder = launcher.prepare(spec, default_cache(), lambda step: print(f"{spec.model}: {step}", flush=True))
    # Ray hides all GPUs but those of this job.
    devices = available()[: spec.gpus]
    if len(devices) < spec.gpus:
        raise EngineError(f"{spec.model} is to have {spec.gpus} GPUs, but this job sees {len(devices)}.")
    launch = launcher.launch(spec, folder, devices, order.listen)
    return shim_command(launch.command), launch.environment


if __name__ == "__main__":
    raise SystemExit(main())
