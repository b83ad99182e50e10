"""Each bad line is named by its number, with what was expected, and the good ones are found by their places."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.batches.input_check import LINE, MOST_TOLD, BatchInput, InputCheck
from gateway.core.errors import ModelNotFound
from gateway.files.lines import MAX_LINE_BYTES
from tests.gateway.batches.made import CHAT, jsonl, line


def model_of(name: str | None) -> str:
    if name not in ("m", "other", "alias"):
        raise ModelNotFound(f"There is no {name!r}.")
    return "m" if name == "alias" else name


def checked(tmp_path: Path, content: bytes, most: int = 100, answered: frozenset[str] = frozenset()) -> BatchInput:
    path = tmp_path / "input"
    path.write_bytes(content)
    return InputCheck(CHAT, most, model_of).read(path, answered)


def told(tmp_path: Path, content: bytes, most: int = 100) -> list[tuple[int | None, str, str | None]]:
    return [(error.line, error.code, error.param) for error in checked(tmp_path, content, most).errors]


def test_lines_are_found_by_their_places_and_the_last_needs_no_end(tmp_path: Path) -> None:
    content = b"\n  \n" + jsonl([line("a"), line("ü")]).rstrip() + b"\n\n" + json.dumps(line("c")).encode()
    found = checked(tmp_path, content)
    read = [LINE.decode(content[start : start + size]) for start, size in zip(found.starts, found.sizes, strict=True)]
    assert [each.custom_id for each in read] == ["a", "ü", "c"]
    assert bytes(read[0].body) == b'{"model": "m"}'
    assert (found.total, found.model, found.errors) == (3, "m", [])


def test_what_was_answered_is_left_out(tmp_path: Path) -> None:
    found = checked(tmp_path, jsonl([line("a"), line("b"), line("c")]), answered=frozenset({"a", "c"}))
    assert (len(found.starts), found.total) == (1, 3)


@pytest.mark.parametrize(
    ("bad", "code", "param"),
    [
        (b"{", "invalid_json_line", None),
        (b"[]", "invalid_json_line", None),
        (b'\xef\xbb\xbf{"a":1}', "invalid_json_line", None),
        (b'{"custom_id":"\xff"}', "invalid_json_line", None),
        (jsonl([line("")]), "missing_required_parameter", "custom_id"),
        (jsonl([line("b", custom_id=1)]), "missing_required_parameter", "custom_id"),
        (jsonl([line("a")]), "duplicate_custom_id", "custom_id"),
        (jsonl([line("b", method="GET")]), "invalid_request", "method"),
        (jsonl([line("b", url="/v1/embeddings")]), "url_mismatch", "url"),
        (jsonl([line("b", body="x")]), "missing_required_parameter", "body"),
        (jsonl([line("b", body={"model": "m", "stream": True})]), "invalid_request", "body.stream"),
        (jsonl([line("b", body={"model": 1})]), "invalid_request", "body.model"),
        (jsonl([line("b", body={"model": "who"})]), "model_not_found", "body.model"),
        (jsonl([line("b", body={"model": "other"})]), "model_mismatch", "body.model"),
        (b" " * (MAX_LINE_BYTES + 1), "invalid_request", None),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, bad: bytes, code: str, param: str | None) -> None:
    content = jsonl([line("a")]) + bad.rstrip(b"\n") + b"\n" + jsonl([line("z")])
    assert told(tmp_path, content) == [(2, code, param)]


def test_a_line_may_name_its_model_by_another_name(tmp_path: Path) -> None:
    assert told(tmp_path, jsonl([line("a"), line("b", body={"model": "alias"})])) == []


def test_all_mistakes_of_all_lines_are_told_and_an_end_is_found(tmp_path: Path) -> None:
    twice = line("a", method="PUT", url="x")
    assert [code for _, code, _ in told(tmp_path, jsonl([twice, line("b")]))] == ["invalid_request", "url_mismatch"]
    assert len(told(tmp_path, b"{\n" * (MOST_TOLD + 5), 10**6)) == MOST_TOLD


@pytest.mark.parametrize("content", [b"", b"\n\n  \n"])
def test_a_file_without_lines(tmp_path: Path, content: bytes) -> None:
    assert told(tmp_path, content) == [(None, "empty_file", None)]


def test_a_file_with_too_many_lines(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [line(str(number)) for number in range(4)]
    assert told(tmp_path, jsonl(lines), most=3) == [(4, "too_many_tasks", None)]
    assert told(tmp_path, jsonl(lines), most=4) == []
