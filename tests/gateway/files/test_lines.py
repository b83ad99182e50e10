"""Files of JSON lines are checked while they come: each bad line is told by its number, with what was expected."""

from __future__ import annotations

import json

import pytest

from engines.train.lines import MAX_LINE_BYTES, example_mistake
from gateway.core.errors import InvalidFile
from gateway.files.lines import LineCheck, batch_mistake

USER, ANSWER = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}


def refusal_of(data: bytes, check: LineCheck | None = None) -> str:
    """Feed a file, and return why it is refused; nothing if it is not."""
    check = check or LineCheck(example_mistake)
    try:
        check.feed(data)
        check.finish()
    except InvalidFile as error:
        return error.message if error.param == "file" else f"param is {error.param}"
    return ""


GOOD = [
    {"text": "a", "label": "b"},
    {"text": "", "label": []},
    {"text": "a", "label": ["b", "c"], "other": 1},
    {"messages": [USER, ANSWER]},
    {"messages": [{"role": "system", "content": "x"}, USER, ANSWER], "tools": []},
    {"messages": [USER, {"role": "assistant", "tool_calls": [{"id": "1"}]}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}, ANSWER]},
]


@pytest.mark.parametrize("line", GOOD, ids=json.dumps)
def test_a_good_example(line: object) -> None:
    assert refusal_of(json.dumps(line).encode()) == ""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{}", 'expected {"text": …, "label": …} or {"messages": […]}'),
        ('{"text": 1, "label": "a"}', 'expected "text" to be a string, not 1'),
        ('{"label": "a"}', 'expected "text" to be a string, but it is missing'),
        ('{"text": "a"}', 'expected "label" to be a string, or a list of strings, but it is missing'),
        ('{"text": "a", "label": [1]}', 'expected "label" to be a string, or a list of strings, not [1]'),
        ('{"messages": []}', 'expected "messages" to be a list of messages, not []'),
        ('{"messages": [1]}', 'expected "messages[0]" to be an object, not 1'),
        ('{"messages": [{"role": "robot"}]}', 'expected "messages[0].role" to be one of assistant, developer'),
        ('{"messages": [{"role": "user", "content": 1}]}', 'expected "messages[0].content" to be a string or a list'),
        ('{"messages": [{"role": "user", "content": "a"}]}', 'to be the assistant\'s, not that of "user"'),
        ('{"messages": [{"role": "assistant"}]}', 'to have "content" or "tool_calls"'),
        ("[1]", "expected a JSON object, not [1]"),
        ('"' + "x" * 100 + '"', 'expected a JSON object, not "' + "x" * 39 + "…"),
        ("{", "is not valid JSON"),
        ('{"text": "\\ud800"}', "is not valid JSON"),
        ("\ufeff{}", "begins with a byte order mark"),
    ],
)
def test_a_bad_example_is_told_by_its_number(line: str, expected: str) -> None:
    good = json.dumps(GOOD[0])
    message = refusal_of(f"{good}\n{line}\n{good}\n".encode())
    assert message.startswith("The file is not valid; line 2: ")
    assert expected in message


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ""),
        ({"custom_id": None}, 'expected "custom_id" to be a string that is not empty, not null'),
        ({"method": ""}, 'expected "method" to be a string that is not empty, not ""'),
        ({"url": 1}, 'expected "url" to be a string that is not empty, not 1'),
        ({"body": "x"}, 'expected "body" to be an object, not "x"'),
    ],
)
def test_lines_of_a_batch(change: dict[str, object], expected: str) -> None:
    line = {"custom_id": "1", "method": "POST", "url": "/v1/embeddings", "body": {}} | change
    message = refusal_of(json.dumps(line).encode(), LineCheck(batch_mistake))
    assert message.partition("line 1: ")[2] == (f"{expected}." if expected else "")


@pytest.mark.parametrize("size", [1, 2, 7, 50])
def test_lines_are_the_same_however_they_are_cut(size: int) -> None:
    data = b'{"text":"a","label":"b"}\r\n\n  \n{"text":"a"}\n{"text":"\xc3\xa9","label":"b"}\n[]'
    check = LineCheck(example_mistake)
    for at in range(0, len(data), size):
        check.feed(data[at : at + size])
    with pytest.raises(InvalidFile) as refused:
        check.finish()
    assert refused.value.message == refusal_of(data)
    assert "line 4: " in refused.value.message
    assert "line 6: " in refused.value.message
    assert repr(check) == "<LineCheck [6 lines, 2 bad]>"


def test_ten_bad_lines_are_enough() -> None:
    check = LineCheck(example_mistake)
    with pytest.raises(InvalidFile) as refused:
        check.feed(b"{}\n" * 1_000)
    assert refused.value.message.count("line ") == 10
    assert refused.value.message.endswith("(no more lines were looked at).")


@pytest.mark.parametrize("data", [b"", b"\n \n"])
def test_a_file_without_lines_is_no_file_of_lines(data: bytes) -> None:
    assert refusal_of(data) == "The file has no lines; expected a JSON object on each line."


def test_a_line_without_end_is_not_held() -> None:
    check = LineCheck(example_mistake)
    for _ in range(3 * MAX_LINE_BYTES // 2**16):
        check.feed(bytes(2**16))
    assert refusal_of(b'\n{"text":"a","label":"b"}', check) == (
        f"The file is not valid; line 1: is over {MAX_LINE_BYTES} bytes."
    )
