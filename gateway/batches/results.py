"""The results of a batch: two append-only files of JSON lines, one of answers and one of errors.

A result is what records that its line is answered; there is no other record that could say something else. A line that
was written whole before a crash counts, one that was cut is removed and asked again. So each line stands once in the
results, however often the gateway ends.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Raw

_PIECE = 1024 * 1024


class LineResponse(msgspec.Struct, frozen=True):
    """What the gateway has answered to a line."""

    status_code: int
    request_id: str
    body: Raw


class ResultError(msgspec.Struct, frozen=True):
    """Why a line was not asked."""

    code: str
    message: str


class Result(msgspec.Struct, frozen=True):
    """One line of results, as OpenAI writes it."""

    id: str
    custom_id: str
    response: LineResponse | None = None
    error: ResultError | None = None

    def encoded(self) -> bytes:
        """Write it as a line."""
        return msgspec.json.encode(self) + b"\n"


class _Written(msgspec.Struct):
    custom_id: str


_WRITTEN = msgspec.json.Decoder(_Written)


class ResultFile:
    """One file that results are appended to; all of its methods block, and raise ``OSError``.

    It is locked (``flock``) while it is open, so that no other process appends to it, or takes what it is linked to for
    abandoned.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO = path.open("a+b", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.ids = self._recover()
            """The lines that were answered before it was opened, by their ``custom_id``."""
        except BaseException:
            self._file.close()
            raise

    def __repr__(self) -> str:
        return f"<ResultFile {self.path} [{self.size} bytes]>"

    def append(self, data: bytes) -> None:
        """Append whole lines: all of them, or none."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._file.fileno(), rest) :]
        except OSError:
            # A disk that is full may have taken a part.
            self._file.truncate(self.size)
            raise
        self.size += len(data)

    def sync(self) -> None:
        """Have on the disk what was appended."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close it; harmless the second time."""
        self._file.close()

    def _recover(self) -> frozenset[str]:
        """Find what was written, and remove what was cut: by a crash, or where power was lost before a sync."""
        ids: list[str] = []
        self.size = 0
        with self.path.open("rb", buffering=_PIECE) as written:
            for line in written:
                try:
                    custom_id = _WRITTEN.decode(line).custom_id
                except (msgspec.DecodeError, UnicodeDecodeError):
                    break
                if not line.endswith(b"\n"):
                    break
                ids.append(custom_id)
                self.size += len(line)
        self._file.truncate(self.size)
        return frozenset(ids)


def body_of(content: bytes) -> Raw:
    """Give a response's body as one line of JSON; what is no JSON becomes a text."""
    try:
        compact = msgspec.json.format(content, indent=-1) if b"\n" in content else content
        msgspec.json.decode(compact, type=Raw)
        compact.decode("utf-8")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Raw(msgspec.json.encode(content.decode("utf-8", "replace")))
    return Raw(compact)
