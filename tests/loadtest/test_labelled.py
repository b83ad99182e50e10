"""Texts are read from JSON lines, and what is wrong is told with file, line and field."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtest.labelled import DataError, Example, read


def written(folder: Path, content: str) -> Path:
    file = folder / "texts.jsonl"
    file.write_text(content)
    return file


def test_each_line_is_an_example_that_knows_its_number(tmp_path: Path) -> None:
    file = written(tmp_path, '{"text": "Hi", "label": "a", "id": 7}\n\n{"text": "Ho"}\n')
    assert read(file, 10, labelled=False) == [Example(1, "Hi", "a"), Example(3, "Ho")]


def test_of_too_many_the_same_are_drawn_each_time(tmp_path: Path) -> None:
    file = written(tmp_path, "".join(f'{{"text": "{number}"}}\n' for number in range(100)))
    drawn = read(file, 20, labelled=False)
    assert len(drawn) == 20
    assert drawn == sorted(drawn, key=lambda example: example.line) == read(file, 20, labelled=False)
    assert drawn[-1].line > 50


@pytest.mark.parametrize(
    ("content", "labelled", "message"),
    [
        ("", False, r'has no lines; expected objects such as \{"text"'),
        ("\n \n", False, "has no lines"),
        ('{"text": "a"}\n[1]', False, ":2: Expected `object`, got `array`"),
        ('{"text": "a"}\nnothing', False, r":2: is not valid JSON \(.*\): nothing"),
        ('{"text": 3}', False, r":1: Expected `str`, got `int` - at `\$.text`"),
        ('{"label": "a"}', False, ":1: Object missing required field `text`"),
        ('{"text": " "}', False, ":1: text: is empty"),
        ('{"text": "a", "label": ["a"]}', False, r":1: Expected `str \| null`, got `array` - at `\$.label`"),
        ('{"text": "a", "label": "b"}\n{"text": "a"}', True, ":2: label: is missing"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, content: str, labelled: bool, message: str) -> None:
    file = written(tmp_path, content)
    with pytest.raises(DataError, match=f"texts.jsonl(: )?{message}"):
        read(file, 10, labelled=labelled)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jsonl: cannot be read: "):
        read(tmp_path / "none.jsonl", 10, labelled=False)
    (tmp_path / "latin").write_bytes(b'{"text": "\xe9"}')
    with pytest.raises(DataError, match=r"latin: cannot be read: .*utf-8"):
        read(tmp_path / "latin", 10, labelled=False)
