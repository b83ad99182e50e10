"""Reads texts, with or without labels, from JSON lines."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import msgspec

_SHOWN = 60
_SEED = 20


class DataError(Exception):
    """A file of texts cannot be used; the message names the file, the line and the field."""


@dataclass(frozen=True, slots=True)
class Example:
    """One line: its number, its text, and its label if it has one."""

    line: int
    text: str
    label: str | None = None


class _Line(msgspec.Struct):
    text: str
    label: str | None = None


_LINES = msgspec.json.Decoder(_Line)


def read(file: Path, most: int, *, labelled: bool) -> list[Example]:
    """Read the lines of a file, objects with a ``text`` and a ``label``; of more than ``most`` so many are drawn.

    Empty lines are passed over. Raises ``DataError`` naming file and line.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read: {error}") from error
    found = [_example(file, number, line, labelled=labelled) for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise DataError(f'{file}: has no lines; expected objects such as {{"text": "…", "label": "…"}}')
    if len(found) > most:
        draw = random.Random(_SEED)  # noqa: S311 - a reproducible choice, nothing secret
        found = sorted(draw.sample(found, most), key=lambda example: example.line)
    return found


def _example(file: Path, number: int, line: str, *, labelled: bool) -> Example:
    try:
        given = _LINES.decode(line)
    except msgspec.ValidationError as error:
        raise DataError(f"{file}:{number}: {error}") from None
    except msgspec.DecodeError as error:
        raise DataError(f"{file}:{number}: is not valid JSON ({error}): {line[:_SHOWN]}") from None
    if not given.text.strip():
        raise DataError(f"{file}:{number}: text: is empty")
    if labelled and given.label is None:
        raise DataError(f"{file}:{number}: label: is missing")
    return Example(number, given.text, given.label)
