"""What a line is refused for, in words; ``tests/gateway/files/test_lines.py`` has the lines that are uploaded."""

from __future__ import annotations

import pytest

from engines.train.lines import MAX_LINE_BYTES, example_mistake, expected, object_in, shown


def test_an_object_is_decoded() -> None:
    assert object_in(b'{"text": "a", "label": "b"}\r') == {"text": "a", "label": "b"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"[1]", r"expected a JSON object, not \[1\]"),
        (b"{", "is not valid JSON: Input data was truncated"),
        (b'{"text": "\xff"}', "is not valid JSON: "),
        (b'\xef\xbb\xbf{"text": "a"}', "begins with a byte order mark; save the file as UTF-8 without one"),
        (b'"' + b"a" * MAX_LINE_BYTES + b'"', f"is over {MAX_LINE_BYTES} bytes"),
    ],
)
def test_what_is_no_object_is_refused(line: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        object_in(line)


def test_examples_of_all_kinds_are_right() -> None:
    assert example_mistake({"text": "a", "label": "b"}) is None
    assert example_mistake({"text": "a", "label": ["b", "c"]}) is None
    assert example_mistake({"messages": [{"role": "assistant", "content": "a"}]}) is None


def test_a_label_of_another_type_is_shown() -> None:
    reason = 'expected "label" to be a string, or a list of strings, not 3'
    assert example_mistake({"text": "a", "label": 3}) == reason


def test_a_missing_field_is_named() -> None:
    assert expected({}, "text", "a string") == 'expected "text" to be a string, but it is missing'


def test_a_long_value_is_cut() -> None:
    assert shown("a" * 100) == '"' + "a" * 39 + "…"
