"""Training data is read, and what is wrong with it is told by its lines, before anything is queued."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from engines.train.errors import JobError
from engines.train.examples import Example, Message, read_chats, read_texts
from engines.train.lines import MAX_LINE_BYTES


def write(file: Path, lines: Iterable[Any]) -> Path:
    """Write lines; what is no string is written as JSON."""
    file.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return file


def labelled(count: int = 10, **changed: Any) -> list[Any]:
    """Make examples of two classes; ``line3=…`` puts another line in the third's place."""
    lines: list[Any] = [{"text": f"text {n}", "label": "even" if n % 2 else "odd"} for n in range(count)]
    for name, line in changed.items():
        lines[int(name.removeprefix("line")) - 1] = line
    return lines


def chat(*turns: tuple[str, Any], **fields: Any) -> dict[str, Any]:
    """Make a line with messages; ``fields`` are put into the last one."""
    messages = [{"role": role, "content": content} for role, content in turns]
    messages[-1].update(fields)
    return {"messages": messages}


def refusal(tmp_path: Path, lines: Iterable[Any], validation: Iterable[Any] | None = None) -> JobError:
    """Read examples for a classifier that must be refused."""
    training = write(tmp_path / "training.jsonl", lines)
    other = None if validation is None else write(tmp_path / "validation.jsonl", validation)
    with pytest.raises(JobError) as caught:
        read_texts(training, other)
    return caught.value


def test_texts_and_labels_are_read(tmp_path: Path) -> None:
    data = read_texts(write(tmp_path / "a", labelled(12)), write(tmp_path / "b", labelled(2)))
    assert (len(data.training), len(data.validation)) == (12, 2)
    assert data.training[1] == Example("text 1", ("even",))
    assert (data.labels, data.multi_label) == (["even", "odd"], False)


def test_lists_of_labels_are_multi_label_and_may_be_empty(tmp_path: Path) -> None:
    lines = [{"text": f"text {n}", "label": ["a", "b"][: n % 3]} for n in range(12)]
    data = read_texts(write(tmp_path / "a", lines), None)
    assert data.multi_label
    assert [example.labels for example in data.training[:3]] == [(), ("a",), ("a", "b")]


def test_the_assistants_message_is_a_label(tmp_path: Path) -> None:
    lines = [
        chat(("system", "Classify."), ("user", f"text {n}"), ("assistant", " even\n" if n % 2 else "odd"))
        for n in range(10)
    ]
    data = read_texts(write(tmp_path / "a", lines), None)
    assert data.training[1] == Example("text 1", ("even",))


def test_two_hundred_classes_are_fine(tmp_path: Path) -> None:
    lines = [{"text": f"text {n}", "label": f"class {n % 200}"} for n in range(400)]
    assert len(read_texts(write(tmp_path / "a", lines), None).labels) == 200


def test_empty_lines_are_passed_over_and_counted(tmp_path: Path) -> None:
    error = refusal(tmp_path, ["", *labelled(line2={"text": "a"})])
    assert "line 3: " in error.message


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"text": "", "label": "odd"}, "the text is empty; expected one that can be classified"),
        ({"text": " \n", "label": "odd"}, "the text is empty; expected one that can be classified"),
        ({"text": "a", "label": " "}, 'expected "label" to be a label, not " "'),
        ({"text": "a", "label": 1}, 'expected "label" to be a string, or a list of strings, not 1'),
        ({"text": "a"}, 'expected "label" to be a string, or a list of strings, but it is missing'),
        ({"text": 3, "label": "odd"}, 'expected "text" to be a string, not 3'),
        ({"text": "a", "label": ["odd", "odd"]}, 'expected each label once in "label", not ["odd","odd"]'),
        ('{"text": "a"', "is not valid JSON: Input data was truncated"),
        ("[]", "expected a JSON object, not []"),
        (chat(("user", "a"), ("assistant", "")), 'expected the last message to be a label, not ""'),
        (
            chat(("user", [{"type": "image_url", "image_url": {}}]), ("assistant", "odd")),
            'expected "messages[0].content" to hold texts only, not [{"type":"image_url","image_url":{}}]',
        ),
    ],
)
def test_a_bad_line_is_named_with_what_was_expected(tmp_path: Path, line: Any, reason: str) -> None:
    error = refusal(tmp_path, labelled(line3=line))
    assert error.message == f"The training file is not valid; line 3: {reason}."
    assert (error.code, error.param) == ("invalid_training_file", "training_file")


def test_text_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b'{"text": "a", "label": "b"}\n{"text": "\xe4", "label": "b"}\n')
    with pytest.raises(JobError, match="line 2: is not valid JSON: "):
        read_texts(file, None)


def test_a_line_of_ten_megabytes_is_refused_and_those_after_it_are_read(tmp_path: Path) -> None:
    error = refusal(tmp_path, ["x" * 10_000_000, {"text": "a"}])
    assert f"line 1: is over {MAX_LINE_BYTES} bytes; line 2: expected" in error.message


def test_after_ten_bad_lines_no_more_are_looked_for(tmp_path: Path) -> None:
    error = refusal(tmp_path, ["{}"] * 20)
    assert error.message.count("line ") == 10
    assert error.message.endswith("(no more lines were looked at).")


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([], "The training file has no lines; expected an example on each."),
        (
            [{"text": f"text {n}", "label": "a"} for n in range(10)],
            'The training file is not valid; every example has the label "a"; at least two classes are needed.',
        ),
        (
            [*labelled(10), {"text": "a", "label": "rare"}],
            'The training file is not valid; each class needs 2 different texts at least; these have one: "rare".',
        ),
        (
            [*labelled(10), {"text": "a", "label": ["odd"]}],
            "The training file is not valid; line 11: expected one label, as the first line has.",
        ),
        (
            [{"text": f"text {n}", "label": []} for n in range(10)],
            "The training file is not valid; no example has a label.",
        ),
    ],
)
def test_what_makes_training_senseless_is_told(tmp_path: Path, lines: list[Any], reason: str) -> None:
    assert refusal(tmp_path, lines).message == reason


def test_too_few_examples_are_counted(tmp_path: Path) -> None:
    error = refusal(tmp_path, labelled(4))
    assert (error.code, error.message) == (
        "invalid_n_examples",
        "The training file has 4 examples; at least 10 are needed.",
    )


def test_labels_that_are_not_trained_are_unknown(tmp_path: Path) -> None:
    error = refusal(tmp_path, labelled(), [{"text": "a", "label": "odd"}, {"text": "b", "label": "prime"}])
    assert error.message == ('The validation file is not valid; line 2: the label "prime" is not in the training file.')
    assert error.param == "validation_file"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"absent\.jsonl cannot be read: No such file"):
        read_texts(tmp_path / "absent.jsonl", None)


def test_conversations_are_read_with_what_is_learnt_of_them(tmp_path: Path) -> None:
    line = {
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b", "weight": 0},
            {"role": "user", "content": [{"type": "text", "text": "c"}]},
            {"role": "assistant", "content": "d"},
        ]
    }
    data = read_chats(write(tmp_path / "a", [line] * 10), None)
    assert data.training[0] == (
        Message("user", "a", False),
        Message("assistant", "b", False),
        Message("user", "c", False),
        Message("assistant", "d", True),
    )


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            {"text": "a", "label": "b"},
            'expected {"messages": […]}; texts with labels train classifiers, not chat models',
        ),
        (chat(("user", "a")), 'expected the last of "messages" to be the assistant\'s, not that of "user"'),
        (chat(("assistant", "a"), weight=2), 'expected "messages[0].weight" to be 0 or 1, not 2'),
        (chat(("assistant", "a"), weight=0), "every message of the assistant has the weight 0; expected one to learn"),
        (chat(("assistant", " ")), '"messages[0].content" is empty; expected an answer to learn'),
        (
            chat(("assistant", None), tool_calls=[{}]),
            'expected "messages[0].content" to be a text; calls of tools are not trained',
        ),
    ],
)
def test_a_conversation_that_cannot_be_learnt_is_named(tmp_path: Path, line: Any, reason: str) -> None:
    file = write(tmp_path / "a", [chat(("user", "a"), ("assistant", "b"))] * 10 + [line])
    with pytest.raises(JobError) as caught:
        read_chats(file, None)
    assert caught.value.message == f"The training file is not valid; line 11: {reason}."
