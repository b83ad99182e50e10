"""How the tuning server itself is started, like an engine: its command, and where it says that it is ready."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from engines.errors import SourceError
from engines.spec import EngineSpec, Launch, Listen, Progress
from engines.tuning.records import TuningSettings

MODEL = "tuning"
"""What the server is called where engines have the names of their models."""

LOCK = "lock"
"""The file in the tuning folder that a tuning server holds while it runs."""


def socket_in(folder: Path) -> Path:
    """Return where the server of a folder listens, as its supervisor names it."""
    return folder / f"{MODEL}-0.sock"


class TuningServer:
    """Starts ``python -m engines.tuning``."""

    def __init__(self, settings: TuningSettings) -> None:
        self._settings = settings

    def __repr__(self) -> str:
        return f"<TuningServer of {self._settings.folder}>"

    def prepare(self, spec: EngineSpec, cache: Path, progress: Progress) -> Path:  # noqa: ARG002 - nothing is fetched
        """Make the folder. Raises ``SourceError``."""
        folder = Path(self._settings.folder)
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise SourceError(f"The tuning folder {folder} cannot be made: {error.strerror}.") from None
        return folder

    def launch(self, spec: EngineSpec, folder: Path, devices: Sequence[str], listen: Listen) -> Launch:  # noqa: ARG002
        """Serve at the socket. Raises ``SourceError`` where another gateway's server has the folder."""
        if in_use(folder):
            raise SourceError(f"The tuning folder {folder} is another gateway's; set gateway.tuning.folder.")
        told = msgspec.json.encode(self._settings).decode()
        return Launch((sys.executable, "-m", "engines.tuning", "--uds", str(listen), "--settings", told), {})


def in_use(folder: Path) -> bool:
    """Whether a tuning server runs in a folder."""
    try:
        os.close(hold(folder))
    except BlockingIOError:
        return True
    return False


def hold(folder: Path, lock: str = LOCK) -> int:
    """Hold a folder for this process; the lock ends with the descriptor. Raises ``BlockingIOError`` if another does."""
    descriptor = os.open(folder / lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
