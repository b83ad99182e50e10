"""Engines that are shell scripts, for what is about their processes and not about what they answer."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from engines.spec import EngineSpec, Launch, Listen, Progress

_SERVER = """
import os, socket
listening = socket.socket(socket.AF_UNIX)
listening.bind(os.environ["SOCKET"])
listening.listen()
print("m listens", flush=True)
while True:
    asked, _ = listening.accept()
    with asked:
        asked.recv(4096)
        asked.sendall(b"HTTP/1.1 200 OK\\r\\ncontent-length: 0\\r\\n\\r\\n")
"""
SMALL = f"exec {sys.executable} -S -c {shlex.quote(_SERVER)}"
"""An engine that is there at once and only says that it is ready."""


class Shell:
    """Starts engines as shell scripts, which find their socket in ``$SOCKET`` and their GPUs in ``$DEVICES``."""

    def __init__(self, script: str = SMALL, *, fails: Iterable[Exception] = ()) -> None:
        self.script = script
        self._failures = iter(fails)

    def prepare(self, spec: EngineSpec, cache: Path, progress: Progress) -> Path:
        """Bring nothing, or fail as often as told."""
        progress("looking")
        for failure in self._failures:
            raise failure
        return cache

    def launch(self, spec: EngineSpec, folder: Path, devices: Sequence[str], listen: Listen) -> Launch:
        """Start a shell."""
        environment = {"SOCKET": str(listen), "DEVICES": ",".join(devices), **spec.env}
        return Launch(("sh", "-c", self.script), environment)
