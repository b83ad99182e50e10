"""What the runner needs of a training process, wherever it runs, and the environment that each of them gets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

STOP_SECONDS = 60.0
"""How long a training may take to write a checkpoint when it is asked to stop."""


class Child(Protocol):
    """A training process that was started, or is still to begin where it waits for room."""

    async def ended(self) -> int:
        """Wait for the end, and return the exit code: 128 and the number of the signal where one has killed it."""

    def stop(self, grace: float = STOP_SECONDS) -> None:
        """Ask it to write a checkpoint and end, and wait for that no longer than ``grace`` seconds."""

    def kill(self) -> None:
        """End it with all that it has started. Harmless after its end."""


Say = Callable[[str], None]
"""Tells the owner of a job something about its training, as an event of the job."""

StartChild = Callable[[Sequence[str], Path, Say], Awaitable[Child]]
"""Starts a command whose output goes to a log in the job's folder. Raises ``OSError``."""


def environment_of(threads: int) -> dict[str, str]:
    """Give the variables that a training gets beside those of the process that starts it."""
    return {
        "OMP_NUM_THREADS": str(threads),
        # Without it the threads of OpenMP spin beside engines that are busy, and take their time.
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
