"""Texts come from CSV and JSON, broken files are named, and what calibrates is kept apart from what is measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.onnx.quantize.texts import DataError, Text, read, split


def write(folder: Path, name: str, content: str) -> Path:
    (folder / name).write_text(content, encoding="utf-8")
    return folder / name


@pytest.mark.parametrize("column", ["label", "category", "intent"])
def test_csv_has_a_heading_and_quoted_texts(tmp_path: Path, column: str) -> None:
    file = write(tmp_path, "a.csv", f'text,{column}\n"Yes, please",yes\n"Two\nlines",no\n')
    assert read(file, 10) == [Text("Yes, please", "yes"), Text("Two\nlines", "no")]


def test_csv_may_have_no_labels(tmp_path: Path) -> None:
    assert read(write(tmp_path, "a.csv", "id,text\n1,Hello\n"), 10) == [Text("Hello")]


def test_csv_of_a_spreadsheet_has_a_byte_order_mark(tmp_path: Path) -> None:
    assert read(write(tmp_path, "a.csv", "\ufefftext,label\nHello,yes\n"), 10) == [Text("Hello", "yes")]


@pytest.mark.parametrize("separator", ["\u2028", "\x0b", "\x0c", "\x85"])
def test_only_a_line_end_ends_a_line_of_csv(tmp_path: Path, separator: str) -> None:
    file = write(tmp_path, "a.csv", f"text,label\none{separator}two,yes\n")
    assert read(file, 10) == [Text(f"one{separator}two", "yes")]


def test_jsonl_has_an_object_on_each_line(tmp_path: Path) -> None:
    file = write(tmp_path, "a.jsonl", '{"text": "a\u2028b", "label": "x"}\n\n{"text": "c"}\n')
    assert read(file, 10) == [Text("a\u2028b", "x"), Text("c")]


@pytest.mark.parametrize("content", ['[["a", "x"], ["b", "y"]]', '{"train": [["a", "x"]], "test": [["b", "y"]]}'])
def test_json_has_lists_of_pairs(tmp_path: Path, content: str) -> None:
    assert read(write(tmp_path, "a.json", content), 10) == [Text("a", "x"), Text("b", "y")]


def test_a_long_file_is_drawn_from_and_always_the_same(tmp_path: Path) -> None:
    file = write(tmp_path, "a.csv", "text\n" + "".join(f"text {n}\n" for n in range(100)))
    assert len(set(read(file, 10))) == 10
    assert read(file, 10) == read(file, 10)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", "", "a.csv:1: expected a heading with the column text, found nothing"),
        ("a.csv", "sentence,label\n", "a.csv:1: expected a heading with the column text, found sentence, label"),
        ("a.csv", "text\n \n", "a.csv: there is no text in it"),
        ("a.json", "{", "a.json: is not valid JSON: "),
        ("a.json", "3", r"a.json: expected lists of \[text, label\]"),
        ("a.jsonl", '{"text": "a"}\n{', "a.jsonl:2: is not valid JSON: "),
        ("a.jsonl", '{"text": "a", "label": 3}', "a.jsonl:1: expected "),
        ("a.jsonl", "[1]", r"a.jsonl:1: expected .* found \[1\]"),
        ("a.csv", f"text\nfirst\n{'long' * 50_000}\n", "a.csv:3: field larger than field limit"),
        ("a.json", '{"train": 5}', r"a.json: expected lists of \[text, label\]"),
        ("a.json", "[" * 100_000, "a.json: is not valid JSON: maximum recursion depth"),
        ("a.jsonl", '{"text": "a"}\n{"text": "\\ud800 b"}', r"a.jsonl: half a surrogate pair is no text: '.ud800 b'"),
        ("a.json", '[["a", 1]]', r'a.json: expected \[text, label\], found \["a", 1\]'),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_reason(
    tmp_path: Path, name: str, content: str, reason: str
) -> None:
    with pytest.raises(DataError, match=reason):
        read(write(tmp_path, name, content), 10)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.csv: cannot be read: "):
        read(tmp_path / "absent.csv", 10)


def test_what_calibrates_is_not_measured() -> None:
    data = [Text(str(n)) for n in range(50)]
    parts = split(data, [])
    assert len(parts.calibration) == 5
    assert sorted(parts.measured + parts.calibration, key=lambda text: int(text.text)) == data


def test_what_is_measured_is_taken_out_of_the_texts_for_calibration() -> None:
    parts = split([Text("a", "x")], [Text("a"), Text("b")])
    assert parts.measured == [Text("a", "x")]
    assert parts.calibration == [Text("b")]


def test_texts_that_leave_nothing_to_measure_with_are_refused() -> None:
    with pytest.raises(DataError, match="none is left to measure with; give two different ones at least"):
        split([Text("a"), Text("a")], [])


def test_texts_to_calibrate_with_that_are_all_measured_with_do_both() -> None:
    parts = split([Text("a"), Text("b")], [Text("b")])
    assert (parts.measured, parts.calibration) == ([Text("a"), Text("b")], [Text("b")])
