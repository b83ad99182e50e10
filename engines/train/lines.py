"""What a line of training data must look like; the lines that OpenAI's and Cohere's fine-tuning read."""

from __future__ import annotations

from typing import Any

import msgspec

MAX_LINE_BYTES = 4 * 1024 * 1024
"""A longer line is refused, so that a file without line ends is not held in memory."""

MOST_TOLD = 10
"""After so many bad lines no more are looked for."""

_SHOWN = 40
"""How much of a bad value is shown."""

_ROLES = ("assistant", "developer", "function", "system", "tool", "user")


def object_in(line: bytes) -> dict[str, Any]:
    """Decode the JSON object of a line. Raises ``ValueError`` saying what is wrong with the line."""
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(f"is over {MAX_LINE_BYTES} bytes")
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if line.startswith(b"\xef\xbb\xbf"):
            raise ValueError("begins with a byte order mark; save the file as UTF-8 without one") from error
        raise ValueError(f"is not valid JSON: {str(error).removeprefix('JSON is malformed: ')}") from error
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, not {shown(value)}")
    return value


def example_mistake(value: dict[str, Any]) -> str | None:
    """Say what is wrong with a training example: a text with its labels, or a chat that ends with its answer."""
    if "messages" in value:
        return _chat_mistake(value["messages"])
    if "text" not in value and "label" not in value:
        return 'expected {"text": …, "label": …} or {"messages": […]}'
    if not isinstance(value.get("text"), str):
        return expected(value, "text", "a string")
    label = value.get("label")
    if isinstance(label, str) or (isinstance(label, list) and all(isinstance(each, str) for each in label)):
        return None
    return expected(value, "label", "a string, or a list of strings")


def expected(value: dict[str, Any], name: str, what: str) -> str:
    """Say what a field was expected to be, and what it is."""
    return f'expected "{name}" to be {what}, ' + (f"not {shown(value[name])}" if name in value else "but it is missing")


def shown(value: Any) -> str:
    """Show a value as JSON, cut short."""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _chat_mistake(messages: Any) -> str | None:
    if not isinstance(messages, list) or not messages:
        return f'expected "messages" to be a list of messages, not {shown(messages)}'
    for at, message in enumerate(messages):
        if not isinstance(message, dict):
            return f'expected "messages[{at}]" to be an object, not {shown(message)}'
        if message.get("role") not in _ROLES:
            return f'expected "messages[{at}].role" to be one of {", ".join(_ROLES)}, not {shown(message.get("role"))}'
        if not isinstance(message.get("content"), str | list | None):
            return f'expected "messages[{at}].content" to be a string or a list, not {shown(message["content"])}'
    last = messages[-1]
    if last["role"] != "assistant":
        return f'expected the last of "messages" to be the assistant\'s, not that of {shown(last["role"])}'
    if last.get("content") is None and not last.get("tool_calls"):
        return 'expected the last of "messages" to have "content" or "tool_calls"'
    return None
