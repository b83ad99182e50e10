"""The content of a file as a client takes it: read in pieces, on threads."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import BinaryIO

_PIECE = 256 * 1024


class FileReader:
    """Reads one file from its beginning to its end. ``run`` has a blocking function run on a thread."""

    def __init__(self, path: Path, length: int, run: Callable[[Callable[[], bytes]], Awaitable[bytes]]) -> None:
        self._path = path
        self._run = run
        self._file: BinaryIO | None = None
        self._left = length
        self.length = length

    def __repr__(self) -> str:
        return f"<FileReader {self._path} [{self.length - self._left} of {self.length} bytes]>"

    def open(self) -> None:
        """Open the file; blocks. Raises ``OSError``, also if it is not as long as it must be."""
        self._file = self._path.open("rb", buffering=0)
        size = os.fstat(self._file.fileno()).st_size
        if size != self.length:
            raise OSError(f"{self._path.name} has {size} bytes instead of {self.length}")

    async def read(self) -> bytes:
        """Return the next piece; none at the end. Raises ``StorageFailed``."""
        return await self._run(self._read) if self._left else b""

    async def close(self) -> None:
        """Close the file; harmless where it was never opened."""
        if self._file is not None:
            self._file.close()

    def _read(self) -> bytes:
        assert self._file is not None
        piece = self._file.read(_PIECE)
        if not piece:
            raise OSError(f"{self._path.name} ended {self._left} bytes too early")
        self._left -= len(piece)
        return piece
