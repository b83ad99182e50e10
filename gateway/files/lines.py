"""Checks files of JSON lines while their bytes come: training examples, and the requests of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engines.train.lines import MAX_LINE_BYTES as MAX_LINE_BYTES  # the lines of a batch have the same limit
from engines.train.lines import MOST_TOLD, expected, object_in
from gateway.core.errors import InvalidFile


class LineCheck:
    """Looks at each line of a file as it arrives, in pieces of any size; lines of white space alone are passed over.

    ``mistake_in`` says what is wrong with the object of a line, ``None`` if nothing is.
    """

    def __init__(self, mistake_in: Callable[[dict[str, Any]], str | None]) -> None:
        self._mistake_in = mistake_in
        self._number = 0
        self._objects = 0
        self._beginning: list[bytes] = []
        self._begun = 0
        self._mistakes: list[str] = []

    def __repr__(self) -> str:
        return f"<LineCheck [{self._number} lines, {len(self._mistakes)} bad]>"

    def feed(self, data: bytes) -> None:
        """Look at the lines that end in ``data``. Raises ``InvalidFile`` when ten are bad."""
        first, *others = data.split(b"\n")
        self._begin(first)
        for line in others:
            self._end_line()
            self._begin(line)

    def finish(self) -> None:
        """Look at what follows the last line end. Raises ``InvalidFile`` if any line is bad, or if there is none."""
        if self._begun:
            self._end_line()
        if self._mistakes:
            raise self._refusal()
        if not self._objects:
            raise InvalidFile("The file has no lines; expected a JSON object on each line.", param="file")

    def _begin(self, piece: bytes) -> None:
        """Keep the beginning of a line, unless it is too long already."""
        self._begun += len(piece)
        if piece and self._begun <= MAX_LINE_BYTES:
            self._beginning.append(piece)

    def _end_line(self) -> None:
        self._number += 1
        line, length = b"".join(self._beginning), self._begun
        self._beginning.clear()
        self._begun = 0
        if not line.strip():
            return
        self._objects += 1
        mistake = f"is over {MAX_LINE_BYTES} bytes" if length > MAX_LINE_BYTES else self._look_at(line)
        if mistake is not None:
            self._mistakes.append(f"line {self._number}: {mistake}")
            if len(self._mistakes) == MOST_TOLD:
                raise self._refusal()

    def _look_at(self, line: bytes) -> str | None:
        try:
            return self._mistake_in(object_in(line))
        except ValueError as error:
            return str(error)

    def _refusal(self) -> InvalidFile:
        more = " (no more lines were looked at)" if len(self._mistakes) == MOST_TOLD else ""
        return InvalidFile(f"The file is not valid; {'; '.join(self._mistakes)}{more}.", param="file")


def batch_mistake(value: dict[str, Any]) -> str | None:
    """Say what is wrong with a line of a batch: it needs ``custom_id``, ``method``, ``url`` and ``body``."""
    for name in ("custom_id", "method", "url"):
        if not isinstance(value.get(name), str) or not value[name]:
            return expected(value, name, "a string that is not empty")
    return None if isinstance(value.get("body"), dict) else expected(value, "body", "an object")
