"""On which line of a TOML file an option stands."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

_HEADING = re.compile(r"\s*(?P<opening>\[\[?)\s*(?P<name>[^\]]+?)\s*\]")
_ASSIGNMENT = re.compile(r"\s*(?P<name>(?:[\w-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*(?:[\w-]+|\"[^\"]*\"|'[^']*'))*)\s*=")
_PART = re.compile(r"\"([^\"]*)\"|'([^']*)'|([\w-]+)")

Place = tuple[str, ...]


class Lines:
    """The lines of a file by what stands on them: headings of tables, and options with their tables."""

    def __init__(self, text: str) -> None:
        self._lines: dict[Place, int] = {}
        for number, place in _places(text):
            self._lines.setdefault(place, number)

    def of(self, at: Sequence[str]) -> int | None:
        """Return the line of an option or a table, counted from 1; of what it stands in, if it is not there itself."""
        for length in range(len(at), 0, -1):
            if (found := self._lines.get(tuple(at[:length]))) is not None:
                return found
        return None


def _places(text: str) -> Iterator[tuple[int, Place]]:
    """Give each heading and each assignment. The tables of a list are told apart by their numbers, from 0."""
    table: Place = ()
    counts: Counter[Place] = Counter()
    for number, line in enumerate(text.splitlines(), start=1):
        if heading := _HEADING.match(line):
            table = _parts(heading["name"])
            if heading["opening"] == "[[":
                yield number, table
                counts[table] += 1
                table = (*table, str(counts[table] - 1))
            yield number, table
        elif assignment := _ASSIGNMENT.match(line):
            yield number, (*table, *_parts(assignment["name"]))


def _parts(name: str) -> Place:
    return tuple(next(part for part in found.groups() if part is not None) for found in _PART.finditer(name))
