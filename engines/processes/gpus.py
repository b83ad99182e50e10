"""Which GPUs there are, and which replica gets which: none is given twice."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
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


class Gpus:
    """The GPUs that engines may have: each is given to one replica at a time."""

    def __init__(self, devices: Sequence[str]) -> None:
        self._devices = tuple(devices)
        self._free = list(devices)

    def __repr__(self) -> str:
        return f"<Gpus [{len(self._free)} of {len(self._devices)} free]>"

    def __len__(self) -> int:
        return len(self._devices)

    @property
    def devices(self) -> Sequence[str]:
        """The ids of all, in their usual order."""
        return self._devices

    @property
    def free(self) -> int:
        """How many are given to nobody."""
        return len(self._free)

    def take(self, number: int) -> tuple[str, ...] | None:
        """Take the first that are free; ``None`` if there are too few, and none is taken."""
        if number > len(self._free):
            return None
        taken = tuple(self._free[:number])
        del self._free[:number]
        return taken

    def take_these(self, devices: Sequence[str]) -> bool:
        """Take exactly these; return whether all were free, and none is taken where one was not."""
        if not set(devices) <= set(self._free):
            return False
        self._free = [device for device in self._free if device not in devices]
        return True

    def give_back(self, devices: Iterable[str]) -> None:
        """Free GPUs again; they are given out in their usual order."""
        free = {*self._free, *devices}
        self._free = [device for device in self._devices if device in free]


def check_demand(wanted: Mapping[str, tuple[int, int]], devices: int) -> None:
    """Raise ``GpuError`` if models want more than there are, or one could never have a replica, however few it has now.

    ``wanted`` is (replicas, GPUs per replica) by model.
    """
    needed = sum(replicas * each for replicas, each in wanted.values())
    if needed > devices:
        asks = ", ".join(f"{name}: {replicas} x {each}" for name, (replicas, each) in wanted.items() if each)
        raise GpuError(
            f"The models ask for {needed} GPUs ({asks}), but {devices} can be used; "
            "lower replicas or gpus, or widen CUDA_VISIBLE_DEVICES."
        )
    for name, (_, each) in wanted.items():
        if each > devices:
            raise GpuError(
                f"A replica of {name} asks for {each} GPUs, but {devices} can be used; "
                "lower gpus, or widen CUDA_VISIBLE_DEVICES."
            )
