"""Checks files of JSON lines while their bytes come: training examples, and the requests of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from gateway.core.errors import InvalidFile

MAX_LINE_BYTES = 4 * 1024 * 1024
"""A longer line is refused, so that a file without line ends is not held in memory."""

MOST_TOLD = 10
"""After so many bad lines no more are looked for."""

_SHOWN = 40
"""How much of a bad value is shown."""

_ROLES = ("assistant", "developer", "function", "system", "tool", "user")


class LineCheck:
    """Looks at each line of a file as it arrives, in pieces of any size; lines of white space alone are passed over.

    ``mistake_in`` says what is wrong with the object of a line, ``None`` if nothing is.
    """

    def __init__(self, mistake_in: Callable[[dict[str, Any]], str | None]) -> None:
        self._mistake_in = mistake_in
        self._number = 0
        self._objects = 0
        self._beginning: list[bytes] = []
        self._begun = 0
        self._mistakes: list[str] = []

    def __repr__(self) -> str:
        return f"<LineCheck [{self._number} lines, {len(self._mistakes)} bad]>"

    def feed(self, data: bytes) -> None:
        """Look at the lines that end in ``data``. Raises ``InvalidFile`` when ten are bad."""
        first, *others = data.split(b"\n")
        self._begin(first)
        for line in others:
            self._end_line()
            self._begin(line)

    def finish(self) -> None:
        """Look at what follows the last line end. Raises ``InvalidFile`` if any line is bad, or if there is none."""
        if self._begun:
            self._end_line()
        if self._mistakes:
            raise self._refusal()
        if not self._objects:
            raise InvalidFile("The file has no lines; expected a JSON object on each line.", param="file")

    def _begin(self, piece: bytes) -> None:
        """Keep the beginning of a line, unless it is too long already."""
        self._begun += len(piece)
        if piece and self._begun <= MAX_LINE_BYTES:
            self._beginning.append(piece)

    def _end_line(self) -> None:
        self._number += 1
        line, length = b"".join(self._beginning), self._begun
        self._beginning.clear()
        self._begun = 0
        if not line.strip():
            return
        self._objects += 1
        mistake = f"is over {MAX_LINE_BYTES} bytes" if length > MAX_LINE_BYTES else self._look_at(line)
        if mistake is not None:
            self._mistakes.append(f"line {self._number}: {mistake}")
            if len(self._mistakes) == MOST_TOLD:
                raise self._refusal()

    def _look_at(self, line: bytes) -> str | None:
        try:
            value = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if line.startswith(b"\xef\xbb\xbf"):
                return "begins with a byte order mark; save the file as UTF-8 without one"
            return f"is not valid JSON: {str(error).removeprefix('JSON is malformed: ')}"
        if not isinstance(value, dict):
            return f"expected a JSON object, not {_shown(value)}"
        return self._mistake_in(value)

    def _refusal(self) -> InvalidFile:
        more = " (no more lines were looked at)" if len(self._mistakes) == MOST_TOLD else ""
        return InvalidFile(f"The file is not valid; {'; '.join(self._mistakes)}{more}.", param="file")


def example_mistake(value: dict[str, Any]) -> str | None:
    """Say what is wrong with a training example: a text with its label or labels, or a chat that ends with its answer.

    These are the lines that OpenAI's and Cohere's fine-tuning read.
    """
    if "messages" in value:
        return _chat_mistake(value["messages"])
    if "text" not in value and "label" not in value:
        return 'expected {"text": …, "label": …} or {"messages": […]}'
    if not isinstance(value.get("text"), str):
        return _expected(value, "text", "a string")
    label = value.get("label")
    if isinstance(label, str) or (isinstance(label, list) and all(isinstance(each, str) for each in label)):
        return None
    return _expected(value, "label", "a string, or a list of strings")


def batch_mistake(value: dict[str, Any]) -> str | None:
    """Say what is wrong with a line of a batch: it needs ``custom_id``, ``method``, ``url`` and ``body``."""
    for name in ("custom_id", "method", "url"):
        if not isinstance(value.get(name), str) or not value[name]:
            return _expected(value, name, "a string that is not empty")
    return None if isinstance(value.get("body"), dict) else _expected(value, "body", "an object")


def _chat_mistake(messages: Any) -> str | None:
    if not isinstance(messages, list) or not messages:
        return f'expected "messages" to be a list of messages, not {_shown(messages)}'
    for at, message in enumerate(messages):
        if not isinstance(message, dict):
            return f'expected "messages[{at}]" to be an object, not {_shown(message)}'
        if message.get("role") not in _ROLES:
            return f'expected "messages[{at}].role" to be one of {", ".join(_ROLES)}, not {_shown(message.get("role"))}'
        if not isinstance(message.get("content"), str | list | None):
            return f'expected "messages[{at}].content" to be a string or a list, not {_shown(message["content"])}'
    last = messages[-1]
    if last["role"] != "assistant":
        return f'expected the last of "messages" to be the assistant\'s, not that of {_shown(last["role"])}'
    if last.get("content") is None and not last.get("tool_calls"):
        return 'expected the last of "messages" to have "content" or "tool_calls"'
    return None


def _expected(value: dict[str, Any], name: str, what: str) -> str:
    return f'expected "{name}" to be {what}, ' + (
        f"not {_shown(value[name])}" if name in value else "but it is missing"
    )


def _shown(value: Any) -> str:
    """Show a value as JSON, cut short."""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
