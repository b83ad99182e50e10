"""Texts are read from JSON lines, and what is wrong is told with file, line and field."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtest.labelled import DataError, Example, read_labelled, read_unlabelled


def written(folder: Path, content: str) -> Path:
    file = folder / "texts.jsonl"
    file.write_text(content)
    return file


def test_each_line_is_an_example_that_knows_its_number(tmp_path: Path) -> None:
    file = written(tmp_path, '{"text": "Hi", "label": "a", "id": 7}\n\n{"text": "Ho", "label": "b"}\n')
    assert read_labelled(file, 10) == [Example(1, "Hi", "a"), Example(3, "Ho", "b")]


def test_what_has_a_label_is_not_to_be_labelled(tmp_path: Path) -> None:
    file = written(tmp_path, '{"text": "Hi", "label": "a"}\n{"text": "Ho"}\n{"text": "Ha", "label": null}\n')
    assert read_unlabelled(file, 10) == [Example(2, "Ho"), Example(3, "Ha")]
    file = written(tmp_path, '{"text": "Hi", "label": "a"}\n')
    with pytest.raises(DataError, match=r"texts\.jsonl: every line has a label already"):
        read_unlabelled(file, 10)


def test_of_too_many_the_same_are_drawn_each_time(tmp_path: Path) -> None:
    file = written(tmp_path, "".join(f'{{"text": "{number}"}}\n' for number in range(100)))
    drawn = read_unlabelled(file, 20)
    assert len(drawn) == 20
    assert drawn == sorted(drawn, key=lambda example: example.line) == read_unlabelled(file, 20)
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
        (read_labelled if labelled else read_unlabelled)(file, 10)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jsonl: cannot be read: "):
        read_labelled(tmp_path / "none.jsonl", 10)
    (tmp_path / "latin").write_bytes(b'{"text": "\xe9"}')
    with pytest.raises(DataError, match=r"latin: cannot be read: .*utf-8"):
        read_labelled(tmp_path / "latin", 10)
