"""Which GPUs there are, and which replica gets which: none is given twice."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from itertools import takewhile

from engines.errors import GpuError

_DRIVER_SECONDS = 30
"""How long a driver may take to say what it drives; one that hangs never does."""


def available() -> tuple[str, ...]:
    """List the ids of the GPUs that this process may use, in the order that the driver or the operator gives them.

    Raises ``GpuError`` when there is a driver that does not let itself be asked.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return _allowed(visible)
    if shutil.which("nvidia-smi") is None:
        return ()
    query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        listed = subprocess.run(query, capture_output=True, text=True, check=False, timeout=_DRIVER_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GpuError(f"nvidia-smi cannot be asked which GPUs there are: {error}.") from None
    return tuple(listed.stdout.split()) if listed.returncode == 0 else ()


def _allowed(visible: str) -> tuple[str, ...]:
    """Read ``CUDA_VISIBLE_DEVICES`` as CUDA does: -1 hides all that follow. What is repeated counts once."""
    devices = takewhile(lambda device: device != "-1", (device.strip() for device in visible.split(",")))
    return tuple(dict.fromkeys(device for device in devices if device))


def assign(wanted: Mapping[str, tuple[int, int]], devices: Sequence[str]) -> dict[str, tuple[tuple[str, ...], ...]]:
    """Give each replica devices of its own, in order. ``wanted`` is (replicas, GPUs per replica) by model.

    Raises ``GpuError`` when there are too few.
    """
    needed = sum(replicas * each for replicas, each in wanted.values())
    if needed > len(devices):
        asks = ", ".join(f"{name}: {replicas} x {each}" for name, (replicas, each) in wanted.items() if each)
        raise GpuError(
            f"The models ask for {needed} GPUs ({asks}), but {len(devices)} can be used; "
            "lower replicas or gpus, or widen CUDA_VISIBLE_DEVICES."
        )
    free = iter(devices)
    return {
        name: tuple(tuple(next(free) for _ in range(each)) for _ in range(replicas))
        for name, (replicas, each) in wanted.items()
    }
