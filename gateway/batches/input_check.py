"""Reads the input of a batch: finds its lines, and what is wrong with them before anything is asked."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from gateway.batches.records import LineError
from gateway.core.errors import GatewayError
from gateway.files.lines import MAX_LINE_BYTES

MOST_TOLD = 1000
"""After so many bad lines no more are looked for."""

_PIECE = 1024 * 1024

_SHOWN = 100
"""How much of a bad value is shown."""


class BatchLine(msgspec.Struct, frozen=True):
    """What a good line of an input holds."""

    custom_id: str
    body: Raw


LINE = msgspec.json.Decoder(BatchLine)


class BatchInput(NamedTuple):
    """The lines of an input that are still to be asked, by their places in the file, and what was found of all.

    ``total`` is the number of lines that hold a request, ``model`` the one that all of them name.
    """

    starts: array[int]
    sizes: array[int]
    total: int
    model: str | None
    errors: list[LineError]


class InputCheck:
    """Looks at the lines of one input, which must all be for one endpoint and one model.

    ``model_of`` gives the model that is asked by a name, ``None`` for a line that names none; it raises a
    ``GatewayError`` if the batch may not ask it. The codes of errors are OpenAI's and Azure's.
    """

    def __init__(self, endpoint: str, most: int, model_of: Callable[[str | None], str]) -> None:
        self._endpoint = endpoint
        self._most = most
        self._model_of = model_of
        self._errors: list[LineError] = []
        self._ids: dict[str, int] = {}
        self._model: str | None = None
        self._known: dict[str | None, str | LineError] = {}

    def __repr__(self) -> str:
        return f"<InputCheck of {self._endpoint} [{len(self._ids)} lines, {len(self._errors)} bad]>"

    def read(self, path: Path, answered: frozenset[str] = frozenset()) -> BatchInput:
        """Look at a file; lines whose ``custom_id`` is in ``answered`` are not to be asked again.

        Blocks. Raises ``OSError``.
        """
        starts, sizes, total = array("Q"), array("Q"), 0
        for number, start, size, line in _lines(path):
            if size <= MAX_LINE_BYTES and not line.strip():
                continue
            total += 1
            custom_id = self._look_at(number, size, line)
            if len(self._errors) >= MOST_TOLD:
                break
            if total > self._most:
                self._errors = [
                    LineError(
                        "too_many_tasks", f"The file has more than {self._most} requests (batches.max_lines).", number
                    )
                ]
                break
            if custom_id not in answered:
                starts.append(start)
                sizes.append(size)
        if not total:
            self._errors.append(LineError("empty_file", "The file has no lines; expected a request on each line."))
        return BatchInput(starts, sizes, total, self._model, self._errors)

    # inside

    def _look_at(self, number: int, size: int, line: bytes) -> str:
        """Note what is wrong with a line; return its ``custom_id``, if it has one."""
        if size > MAX_LINE_BYTES:
            self._bad(number, "invalid_request", f"The line has {size} bytes; at most {MAX_LINE_BYTES} are read.")
            return ""
        try:
            value = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            reason = str(error).removeprefix("JSON is malformed: ")
            self._bad(number, "invalid_json_line", f"The line is not valid JSON: {reason}.")
            return ""
        if not isinstance(value, dict):
            self._bad(number, "invalid_json_line", f"The line must be a JSON object, not {_shown(value)}.")
            return ""
        custom_id = self._look_at_id(number, value)
        if value.get("method") != "POST":
            self._bad(number, "invalid_request", _expected(value, "method", '"POST"'), "method")
        if value.get("url") != self._endpoint:
            what = f"{_shown(self._endpoint)}, the batch's endpoint"
            self._bad(number, "url_mismatch", _expected(value, "url", what), "url")
        body = value.get("body")
        if isinstance(body, dict):
            self._look_at_body(number, body)
        else:
            self._bad(number, "missing_required_parameter", _expected(value, "body", "an object"), "body")
        return custom_id

    def _bad(self, number: int, code: str, message: str, param: str | None = None) -> None:
        self._errors.append(LineError(code, message, number, param))

    def _look_at_id(self, number: int, value: dict[str, Any]) -> str:
        custom_id = value.get("custom_id")
        if not isinstance(custom_id, str) or not custom_id:
            what = _expected(value, "custom_id", "a text that is not empty")
            self._bad(number, "missing_required_parameter", what, "custom_id")
            return ""
        if custom_id in self._ids:
            message = f"The custom_id {_shown(custom_id)} is that of line {self._ids[custom_id]} already."
            self._bad(number, "duplicate_custom_id", message, "custom_id")
        else:
            self._ids[custom_id] = number
        return custom_id

    def _look_at_body(self, number: int, body: dict[str, Any]) -> None:
        if body.get("stream"):
            message = "A batch has no streams: leave stream out, or set it to false."
            self._bad(number, "invalid_request", message, "body.stream")
        model = body.get("model")
        if model is not None and not isinstance(model, str):
            self._bad(number, "invalid_request", _expected(body, "model", "a text"), "body.model")
            return
        error = self._look_at_model(model)
        if error is not None:
            self._bad(number, error.code, error.message, "body.model")

    def _look_at_model(self, name: str | None) -> LineError | None:
        """Say what is wrong with the model that a line names."""
        if name not in self._known:
            try:
                self._known[name] = self._model_of(name)
            except GatewayError as error:
                self._known[name] = LineError(error.code or "invalid_request", error.message)
        found = self._known[name]
        if isinstance(found, LineError):
            return found
        if self._model is None:
            self._model = found
        if found != self._model:
            message = f"The line is for the model {found!r}, and those before it for {self._model!r}."
            return LineError("model_mismatch", message + " A batch asks one model.")
        return None


def _lines(path: Path) -> Iterator[tuple[int, int, int, bytes]]:
    """Give each line of a file with its number, its place and its size; one that is too long is cut short."""
    with path.open("rb", buffering=_PIECE) as file:
        number = start = 0
        while line := file.readline(MAX_LINE_BYTES + 2):
            size, last = len(line), line
            while not last.endswith(b"\n") and (last := file.readline(_PIECE)):
                size += len(last)
            number += 1
            yield number, start, size - last.endswith(b"\n"), line
            start += size


def _expected(value: dict[str, Any], name: str, what: str) -> str:
    given = f"not {_shown(value[name])}" if name in value else "but it is missing"
    return f"{name} must be {what}, {given}."


def _shown(value: Any) -> str:
    """Show a value as JSON, cut short."""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
