"""Reads training data and checks it as a whole, without torch, so that a job can be refused before it is queued.

Every mistake names its line. What is judged here besides the form of each line: that there are examples enough, two
classes at least, no class that has one example only, and no label in the validation file that is not trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from engines.train.errors import JobError
from engines.train.lines import MAX_LINE_BYTES, MOST_TOLD, example_mistake, object_in, shown

FEWEST_EXAMPLES = 10
"""The fewest that OpenAI's fine-tuning takes."""

FEWEST_OF_CLASS = 2
"""One to learn from, and one to see whether it was learnt."""

_MOST_CLASSES_TOLD = 5

Which = Literal["training_file", "validation_file"]
Read = TypeVar("Read")


class Example(NamedTuple):
    """A text and its labels: one, or with multi-label data any number."""

    text: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TextData:
    """Examples for a classifier; ``validation`` is empty where no file was given. The labels are in order."""

    training: list[Example]
    validation: list[Example]
    labels: list[str]
    multi_label: bool


class Message(NamedTuple):
    """One message of a conversation; ``trained`` if it is an answer to be learnt."""

    role: str
    content: str
    trained: bool


Chat = tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class ChatData:
    """Conversations to learn answers from; ``validation`` is empty where no file was given."""

    training: list[Chat]
    validation: list[Chat]


class _Labelled(NamedTuple):
    line: int
    example: Example
    listed: bool


def read_texts(training: Path, validation: Path | None) -> TextData:
    """Read examples for a classifier. Raises ``JobError`` for all that makes training them senseless."""
    examples = _read(training, "training_file", _labelled)
    multi_label = examples[0].listed
    _check_one_kind(examples, "training_file", multi_label=multi_label)
    _check_enough(len(examples), "training_file")
    labels = _check_classes([each.example for each in examples], multi_label=multi_label)
    checked: list[_Labelled] = []
    if validation is not None:
        checked = _read(validation, "validation_file", _labelled)
        _check_one_kind(checked, "validation_file", multi_label=multi_label)
        _check_known(checked, labels)
    return TextData([each.example for each in examples], [each.example for each in checked], labels, multi_label)


def read_chats(training: Path, validation: Path | None) -> ChatData:
    """Read conversations for a chat model. Raises ``JobError`` for all that makes training them senseless."""
    chats = _read(training, "training_file", _chat)
    _check_enough(len(chats), "training_file")
    return ChatData(chats, [] if validation is None else _read(validation, "validation_file", _chat))


def _read(file: Path, which: Which, take: Callable[[int, dict[str, Any]], Read]) -> list[Read]:
    """Read all lines of a file; ``take`` makes something of a line's number and object, or raises ``ValueError``."""
    taken: list[Read] = []
    mistakes: list[str] = []
    try:
        for number, line in _lines(file):
            try:
                value = object_in(line)
                mistake = example_mistake(value)
                if mistake is not None:
                    raise ValueError(mistake)
                taken.append(take(number, value))
            except ValueError as error:
                mistakes.append(f"line {number}: {error}")
                if len(mistakes) == MOST_TOLD:
                    break
    except OSError as error:
        raise JobError(f"invalid_{which}", f"{file} cannot be read: {error.strerror}.", which) from error
    if mistakes:
        more = " (no more lines were looked at)" if len(mistakes) == MOST_TOLD else ""
        raise JobError(f"invalid_{which}", f"The {_name(which)} is not valid; {'; '.join(mistakes)}{more}.", which)
    if not taken:
        raise JobError(f"invalid_{which}", f"The {_name(which)} has no lines; expected an example on each.", which)
    return taken


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """Give the lines that hold more than white space, with their numbers; of one that is too long the beginning."""
    with file.open("rb") as content:
        number = 0
        while line := content.readline(MAX_LINE_BYTES + 2):
            number += 1
            rest = line
            while rest and not rest.endswith(b"\n"):
                rest = content.readline(MAX_LINE_BYTES)
            line = line.removesuffix(b"\n")
            if line.strip():
                yield number, line


def _labelled(line: int, value: dict[str, Any]) -> _Labelled:
    """Take a text with its labels out of a line of either kind."""
    if "messages" in value:
        messages = value["messages"]
        text = "\n".join(_text(at, each) for at, each in enumerate(messages) if each["role"] == "user")
        name, labels, listed = "the last message", [_text(len(messages) - 1, messages[-1]).strip()], False
    else:
        text, name, given = value["text"], '"label"', value["label"]
        listed = isinstance(given, list)
        labels = list(given) if listed else [given]
    if not text.strip():
        raise ValueError("the text is empty; expected one that can be classified")
    if any(not label.strip() for label in labels):
        raise ValueError(f"expected {name} to be a label, not {shown(labels if listed else labels[0])}")
    if len(set(labels)) < len(labels):
        raise ValueError(f'expected each label once in "label", not {shown(labels)}')
    return _Labelled(line, Example(text, tuple(labels)), listed)


def _chat(_line: int, value: dict[str, Any]) -> Chat:
    """Take a conversation out of a line."""
    if "messages" not in value:
        raise ValueError('expected {"messages": […]}; texts with labels train classifiers, not chat models')
    messages = []
    for at, each in enumerate(value["messages"]):
        weight = each.get("weight", 1)
        if weight not in (0, 1) or isinstance(weight, bool):
            raise ValueError(f'expected "messages[{at}].weight" to be 0 or 1, not {shown(weight)}')
        messages.append(Message(each["role"], _text(at, each), each["role"] == "assistant" and weight == 1))
    if not any(message.trained for message in messages):
        raise ValueError("every message of the assistant has the weight 0; expected one to learn")
    for at, message in enumerate(messages):
        if message.trained and not message.content.strip():
            raise ValueError(f'"messages[{at}].content" is empty; expected an answer to learn')
    return tuple(messages)


def _text(at: int, message: dict[str, Any]) -> str:
    """Give the text of a message. Raises ``ValueError`` for pictures, sounds and calls of tools."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if content is None or message.get("tool_calls"):
        raise ValueError(f'expected "messages[{at}].content" to be a text; calls of tools are not trained')
    texts = [part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in content]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f'expected "messages[{at}].content" to hold texts only, not {shown(content)}')
    return "".join(map(str, texts))


def _check_one_kind(examples: Sequence[_Labelled], which: Which, *, multi_label: bool) -> None:
    """Refuse lists of labels among single ones, and the other way round."""
    for each in examples:
        if each.listed != multi_label:
            wanted = "a list of labels" if multi_label else "one label"
            first = "the first line has" if which == "training_file" else "the training file has"
            raise JobError(
                f"invalid_{which}",
                f"The {_name(which)} is not valid; line {each.line}: expected {wanted}, as {first}.",
                which,
            )


def _check_enough(count: int, which: Which) -> None:
    if count < FEWEST_EXAMPLES:
        raise JobError(
            "invalid_n_examples",
            f"The {_name(which)} has {count} examples; at least {FEWEST_EXAMPLES} are needed.",
            which,
        )


def _check_classes(examples: Sequence[Example], *, multi_label: bool) -> list[str]:
    """Give all labels in order. Raises ``JobError`` if a classifier of them has nothing to tell apart or to learn."""
    texts: dict[str, set[str]] = {}
    for example in examples:
        for label in example.labels:
            texts.setdefault(label, set()).add(example.text)
    labels = sorted(texts)
    if not labels:
        raise _bad_training_file("no example has a label")
    if len(labels) == 1 and not (multi_label and any(not example.labels for example in examples)):
        raise _bad_training_file(f"every example has the label {shown(labels[0])}; at least two classes are needed")
    rare = [label for label in labels if len(texts[label]) < FEWEST_OF_CLASS]
    if rare:
        more = f" and {len(rare) - _MOST_CLASSES_TOLD} more" if len(rare) > _MOST_CLASSES_TOLD else ""
        names = ", ".join(map(shown, rare[:_MOST_CLASSES_TOLD])) + more
        raise _bad_training_file(
            f"each class needs {FEWEST_OF_CLASS} different texts at least; these have one: {names}"
        )
    return labels


def _check_known(examples: Sequence[_Labelled], labels: Sequence[str]) -> None:
    """Refuse labels that are validated and not trained, the first lines by number."""
    known = set(labels)
    mistakes = [
        f"line {each.line}: the label {shown(label)} is not in the training file"
        for each in examples
        for label in each.example.labels
        if label not in known
    ]
    if mistakes:
        more = f" and {len(mistakes) - MOST_TOLD} more" if len(mistakes) > MOST_TOLD else ""
        told = "; ".join(mistakes[:MOST_TOLD])
        raise JobError("invalid_validation_file", f"The validation file is not valid; {told}{more}.", "validation_file")


def _bad_training_file(why: str) -> JobError:
    return JobError("invalid_training_file", f"The training file is not valid; {why}.", "training_file")


def _name(which: Which) -> str:
    return which.replace("_", " ")
