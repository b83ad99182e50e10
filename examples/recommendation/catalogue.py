"""Items, and what people chose of them: read from two CSV files, which are checked line by line."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

QUESTIONS = Path(__file__).parent.parent / "data" / "clinc150_questions.csv"


class CatalogueError(Exception):
    """A file cannot be used; the message names the file, the line, and what was expected."""


@dataclass(frozen=True, slots=True)
class Item:
    """Something that can be recommended. ``intent`` and ``domain`` are only there to simulate and to measure by."""

    id: str
    text: str
    intent: str = ""
    domain: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """A person chose an item, given by its index, at a time in days."""

    person: str
    item: int
    day: float


def read_items(file: Path) -> list[Item]:
    """Read items: CSV with the columns ``id`` and ``text``, and maybe ``intent`` and ``domain``.

    Raises ``CatalogueError``.
    """
    items: dict[str, Item] = {}
    for line, row in _rows(file, ("id", "text")):
        if row["id"] in items:
            raise CatalogueError(f"{file}:{line}: id: {row['id']!r} is there already; each item has one of its own")
        items[row["id"]] = Item(row["id"], row["text"], row.get("intent") or "", row.get("domain") or "")
    if not items:
        raise CatalogueError(f"{file}: has no items; expected a line for each below the columns' names, id,text")
    return list(items.values())


def read_choices(file: Path, items: Sequence[Item]) -> list[Choice]:
    """Read choices: CSV with the columns ``person``, ``item`` (an id) and ``day`` (a number), in any order.

    Raises ``CatalogueError``.
    """
    index = {item.id: number for number, item in enumerate(items)}
    choices: list[Choice] = []
    for line, row in _rows(file, ("person", "item", "day")):
        if row["item"] not in index:
            raise CatalogueError(f"{file}:{line}: item: there is no item {row['item']!r}")
        try:
            choices.append(Choice(row["person"], index[row["item"]], float(row["day"])))
        except ValueError:
            raise CatalogueError(f"{file}:{line}: day: expected a number, not {row['day']!r}") from None
    return sorted(choices, key=lambda choice: choice.day)


def _rows(file: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Give each row with the number of its line; every ``needed`` column has a value."""
    try:
        # Spreadsheets write a byte order mark, which is no part of the first column's name.
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            missing = [name for name in needed if name not in (reader.fieldnames or ())]
            if missing:
                raise CatalogueError(f"{file}:1: expected the columns {','.join(needed)}; {missing[0]} is missing")
            for row in reader:
                empty = [name for name in needed if not (row[name] or "").strip()]
                if empty:
                    raise CatalogueError(f"{file}:{reader.line_num}: {empty[0]}: is empty")
                yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CatalogueError(f"{file}: cannot be read: {error}") from error
