"""Which GPUs there are, and which replica gets which: none is given twice."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from engines.errors import GpuError


def available() -> tuple[str, ...]:
    """List the ids of the GPUs that this process may use, in the order that the driver or the operator gives them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return tuple(device.strip() for device in visible.split(",") if device.strip())
    if shutil.which("nvidia-smi") is None:
        return ()
    query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    listed = subprocess.run(query, capture_output=True, text=True, check=False, timeout=30)
    return tuple(listed.stdout.split()) if listed.returncode == 0 else ()


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
