"""A Ray cluster as it is configured, which is also how a tuning server is told of it."""

from __future__ import annotations

from pathlib import Path

import msgspec


class RayCluster(msgspec.Struct, frozen=True):
    """A Ray cluster, and how its jobs are asked for.

    ``url`` is that of the head's dashboard. ``name`` tells the jobs of this gateway from those of others. The cluster's
    token is in ``token_file``, where it wants one. ``poll`` is the time between two looks at a job, in seconds.
    ``ports`` are the first and the last that engines may listen at, and ``python`` is the interpreter of the nodes that
    has Headgate.
    """

    url: str
    name: str = "headgate"
    token_file: str | None = None
    poll: float = 1.0
    ports: tuple[int, int] = (20_000, 29_999)
    python: str = "python3"

    def token(self) -> str:
        """Read the cluster's token, anew each time as it may have been replaced; nothing without a file.

        Raises ``OSError`` where the file cannot be read, or holds what no header can.
        """
        if self.token_file is None:
            return ""
        token = Path(self.token_file).read_bytes().strip()
        if not token.isascii() or not (text := token.decode()).isprintable():
            raise OSError(f"{self.token_file}: expected one line of ASCII, the token of the cluster")
        return text
