"""Reads labelled text from files, and says which of it measures and which calibrates."""

from __future__ import annotations

import csv
import io
import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LABEL_COLUMNS = ("label", "category", "intent")
_CALIBRATION_TEXTS = 200
_SEED = 20

_HALF_A_PAIR = re.compile("[\ud800-\udfff]")
"""What JSON can write and UTF-8 cannot."""


class DataError(Exception):
    """A file of texts cannot be used."""


@dataclass(frozen=True, slots=True)
class Text:
    """One text and its label, if the file gives one."""

    text: str
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Split:
    """Texts to measure with, and texts to calibrate with."""

    measured: list[Text]
    calibration: list[Text]


def read(file: Path, most: int) -> list[Text]:
    """Read at most so many texts of a file, drawn evenly with a fixed seed.

    CSV has a column ``text`` and may have one of ``label``, ``category`` or ``intent``; JSON is a list of
    ``[text, label]``, or an object of such lists; JSONL has an object with the fields ``text`` and, where it is known,
    ``label`` on each line. Raises ``DataError`` naming the file and what was expected.
    """
    try:
        content = file.read_text(encoding="utf-8-sig")  # Spreadsheets write a byte order mark.
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read: {error}") from error
    texts = _FORMATS.get(file.suffix, _of_csv)(file, content)
    texts = [text for text in texts if text.text.strip()]
    if not texts:
        raise DataError(f"{file}: there is no text in it")
    for text in texts:
        if _HALF_A_PAIR.search(text.text):
            raise DataError(f"{file}: half a surrogate pair is no text: {ascii(text.text)[:60]}")
    return texts if len(texts) <= most else random.Random(_SEED).sample(texts, most)  # noqa: S311


def split(data: Sequence[Text], calibration: Sequence[Text]) -> Split:
    """Keep what measures and what calibrates apart; without texts for calibration a tenth of the data is taken.

    Where all texts for calibration are among the data, as with a small set of examples, they do both. Raises
    ``DataError`` when nothing is left to measure with.
    """
    if calibration:
        known = {text.text for text in data}
        apart = [text for text in calibration if text.text not in known]
        return Split(list(data), _draw(apart or calibration, _CALIBRATION_TEXTS))
    taken = _draw(data, min(_CALIBRATION_TEXTS, max(1, len(data) // 10)))
    used = {text.text for text in taken}
    measured = [text for text in data if text.text not in used]
    if not measured:
        raise DataError("one text calibrates, and none is left to measure with; give two different ones at least")
    return Split(measured, taken)


def _draw(texts: Sequence[Text], count: int) -> list[Text]:
    return random.Random(_SEED).sample(list(texts), min(count, len(texts)))  # noqa: S311


def _of_csv(file: Path, content: str) -> list[Text]:
    rows = csv.DictReader(io.StringIO(content, newline=""))
    columns = rows.fieldnames or ()
    if "text" not in columns:
        raise DataError(f"{file}:1: expected a heading with the column text, found {', '.join(columns) or 'nothing'}")
    label = next((name for name in _LABEL_COLUMNS if name in columns), None)
    try:
        return [Text(row["text"] or "", row[label] if label else None) for row in rows]
    except csv.Error as error:
        raise DataError(f"{file}:{rows.reader.line_num}: {error}") from error


def _of_json(file: Path, content: str) -> list[Text]:
    given = _decoded(content, str(file))
    lists = list(given.values()) if isinstance(given, dict) else [given]
    if not all(isinstance(each, list) for each in lists):
        raise DataError(f"{file}: expected lists of [text, label]")
    pairs = [pair for each in lists for pair in each]
    for pair in pairs:
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(each, str) for each in pair)):
            raise DataError(f"{file}: expected [text, label], found {json.dumps(pair)[:60]}")
    return [Text(*pair) for pair in pairs]


def _of_jsonl(file: Path, content: str) -> list[Text]:
    texts = []
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        given = _decoded(line, f"{file}:{number}")
        text, label = (given.get("text"), given.get("label")) if isinstance(given, dict) else (None, None)
        if not isinstance(text, str) or not isinstance(label, str | None):
            raise DataError(f'{file}:{number}: expected {{"text": …, "label": …}}, found {line[:60]}')
        texts.append(Text(text, label))
    return texts


def _decoded(content: str, place: str) -> Any:
    """Read JSON. Raises ``DataError`` naming the place."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: is not valid JSON: {error}") from error


_FORMATS = {".json": _of_json, ".jsonl": _of_jsonl}
