"""Which gateway a tuning folder belongs to: the one that holds a lock in it, where it has written who it is.

Gateways of one user have the same folder by default. One that served another's models would start their engines once
more, and would go on serving them when the other one has deleted them.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from engines.tuning.launcher import hold

_LOCK = "gateway.lock"


class FolderClaim:
    """The claim of this process, which is a gateway, to a tuning folder. The kernel ends it with the process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: int | None = None

    def __repr__(self) -> str:
        return f"<FolderClaim to {self._folder} [{'not held' if self._held is None else 'held'}]>"

    def take(self) -> bool:
        """Begin to be the gateway that the folder belongs to, if it is no other's; return whether it is no other's.

        What is wrong with a folder that cannot be used is said when the tuning server is started.
        """
        if self._held is not None:
            return True
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._held = hold(self._folder, _LOCK)
            os.ftruncate(self._held, 0)
            os.pwrite(self._held, _name_of(os.getpid()), 0)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def release(self) -> None:
        """Leave the folder to another gateway; harmless where it is not held."""
        if self._held is not None:
            os.close(self._held)
            self._held = None


def is_anothers(folder: Path) -> bool:
    """Whether a folder belongs to another gateway than that of this process, which may be a child of its gateway."""
    try:
        holder = (folder / _LOCK).read_bytes()
    except OSError:
        return False
    return holder not in (b"", _name_of(os.getpid()), _name_of(os.getppid()))


def _name_of(process: int) -> bytes:
    """Name a process, also where the folder is seen from several machines or containers."""
    return f"{socket.gethostname()} {process}\n".encode()
