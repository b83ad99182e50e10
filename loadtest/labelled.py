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


def read_labelled(file: Path, most: int) -> list[Example]:
    """Read the lines of a file, objects with a ``text`` and a ``label``; of more than ``most`` so many are drawn.

    Raises ``DataError`` naming file and line.
    """
    found = _read(file)
    for example in found:
        if example.label is None:
            raise DataError(f"{file}:{example.line}: label: is missing")
    return _drawn(found, most)


def read_unlabelled(file: Path, most: int) -> list[Example]:
    """Read the lines of a file that have no ``label``; of more than ``most`` so many are drawn.

    Raises ``DataError`` naming file and line.
    """
    found = [example for example in _read(file) if example.label is None]
    if not found:
        raise DataError(f"{file}: every line has a label already")
    return _drawn(found, most)


def _read(file: Path) -> list[Example]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read: {error}") from error
    found = [_example(file, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise DataError(f'{file}: has no lines; expected objects such as {{"text": "…", "label": "…"}}')
    return found


def _drawn(found: list[Example], most: int) -> list[Example]:
    if len(found) <= most:
        return found
    draw = random.Random(_SEED)  # noqa: S311 - a reproducible choice, nothing secret
    return sorted(draw.sample(found, most), key=lambda example: example.line)


def _example(file: Path, number: int, line: str) -> Example:
    try:
        given = _LINES.decode(line)
    except msgspec.ValidationError as error:
        raise DataError(f"{file}:{number}: {error}") from None
    except msgspec.DecodeError as error:
        raise DataError(f"{file}:{number}: is not valid JSON ({error}): {line[:_SHOWN]}") from None
    if not given.text.strip():
        raise DataError(f"{file}:{number}: text: is empty")
    return Example(number, given.text, given.label)
