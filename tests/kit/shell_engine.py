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
        status = b"500 Refused" if os.path.exists(os.environ["SOCKET"] + ".refuse") else b"200 OK"
        asked.sendall(b"HTTP/1.1 %b\\r\\ncontent-length: %d\\r\\n\\r\\n%b" % (status, len(SAID), SAID))
"""


def _saying(body: bytes) -> str:
    return f"exec {sys.executable} -S -c {shlex.quote(f'SAID = {body!r}{_SERVER}')}"


SMALL = _saying(b"")
"""An engine that is there at once and only says that it is ready; with a file ``$SOCKET.refuse`` it answers 500."""

SLEEPER = _saying(b'{"status": "awake"}')
"""An engine that can be put to sleep and woken besides."""


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
