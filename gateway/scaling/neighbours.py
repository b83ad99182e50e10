"""Notices other gateways on this machine that scale the same models, and would start engines on the same GPUs.

Each gateway has a folder of its own beside those of others. There it writes down which models it scales, in a file that
is locked (``flock``) for as long as it does, so that what one has left behind that was killed counts for nothing.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

FOLDER_PREFIX = "headgate-"
"""How the names of the folders begin in which gateways have their sockets and logs."""

_FILE = "scales.json"


class _Scales(msgspec.Struct, frozen=True):
    """What a gateway writes down of itself: its process, the GPUs that it may use, and the models that it scales."""

    pid: int
    gpus: frozenset[str]
    models: frozenset[str]


class Neighbours:
    """The other gateways of this user whose folders are beside ``folder``, which is our own.

    Those that may use none of our ``gpus`` do not count, unless both have none.
    """

    def __init__(self, folder: Path, gpus: Collection[str]) -> None:
        self._folder = folder
        self._own = _Scales(os.getpid(), frozenset(gpus), frozenset())
        self._file: int | None = None

    def __repr__(self) -> str:
        return f"<Neighbours of {self._folder.name} [{len(self._own.models)} models told]>"

    def rivals(self, models: Collection[str]) -> Mapping[str, int]:
        """Let others know that we scale these models, and find those that others scale too, each with a process."""
        wanted = frozenset(models)
        if wanted != self._own.models:
            # Where the disk is full others do not learn of us until the next time, and all else goes on.
            with suppress(OSError):
                self._tell(msgspec.structs.replace(self._own, models=wanted))
        others = self._others() if wanted else ()
        return {name: other.pid for other in others for name in other.models & wanted}

    def leave(self) -> None:
        """Scale nothing any more, as far as others know."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self._own = msgspec.structs.replace(self._own, models=frozenset())

    def _tell(self, own: _Scales) -> None:
        if self._file is None:
            self._file = os.open(self._folder / _FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            # Another may just be looking whether it is locked.
            fcntl.flock(self._file, fcntl.LOCK_EX)
        written = os.pwrite(self._file, msgspec.json.encode(own), 0)
        os.ftruncate(self._file, written)
        self._own = own

    def _others(self) -> Iterator[_Scales]:
        """Read what the other gateways scale that run now, and may use what we may use."""
        gpus = self._own.gpus
        with os.scandir(self._folder.parent) as entries:
            folders = [Path(each.path) for each in entries if each.name.startswith(FOLDER_PREFIX) and _is_own(each)]
        for folder in folders:
            other = None if folder == self._folder else _read(folder / _FILE)
            if other is not None and (gpus & other.gpus or not (gpus or other.gpus)):
                yield other


def _is_own(folder: os.DirEntry[str]) -> bool:
    """Whether a folder is this user's: whatever others leave among temporary files is not opened."""
    try:
        return folder.stat(follow_symlinks=False).st_uid == os.getuid()
    except OSError:
        return False


def _read(path: Path) -> _Scales | None:
    """Read what a gateway scales; ``None`` if it does not run, scales nothing, or is just writing."""
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(), type=_Scales) if _is_locked(file.fileno()) else None
    except (OSError, msgspec.DecodeError):
        return None


def _is_locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
