"""What a person sees while the gateway starts: each step of each replica, with its time."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from time import monotonic
from typing import TextIO


class StartupLog:
    """Says on ``out`` what each replica is doing, with the time since the start; a step is said once."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._began = monotonic()
        self._said: dict[str, str] = {}

    @property
    def seconds(self) -> float:
        """How long the start has taken so far."""
        return monotonic() - self._began

    def step(self, replica: str, what: str) -> None:
        """Say what a replica is doing, unless that is what was said of it last."""
        if self._said.get(replica) != what:
            self._said[replica] = what
            self.say(f"{replica}: {what}")

    def waiting(self, replicas: Sequence[str]) -> None:
        """Say which replicas are still awaited, so that a long step is seen to be alive."""
        self.say("still " + ", ".join(f"{replica}: {self._said.get(replica, 'waiting')}" for replica in replicas))

    def say(self, text: str) -> None:
        """Write a line with the time since the start."""
        self.show(f"[{self.seconds:6.1f} s] {text}")

    def show(self, text: str) -> None:
        """Write a text as it is. A terminal that is gone must not end the gateway."""
        with contextlib.suppress(OSError):
            self._out.write(f"{text}\n")
            self._out.flush()
