"""``/v1/audio/transcriptions`` and ``/v1/audio/translations``, which take multipart forms."""

from __future__ import annotations

import hashlib
import re

import msgspec

from loadtest.simulator.batch import Work
from loadtest.simulator.engine_response import ResponseContext, UnaryResponse
from loadtest.simulator.errors import EngineError
from loadtest.simulator.requests import check_model, missing

_BOUNDARY = re.compile(r'^multipart/form-data;.*\bboundary="?([^";]+)"?', re.IGNORECASE)
_NAME = re.compile(rb'^content-disposition:[^\r]*; name="([^"]*)"', re.IGNORECASE | re.MULTILINE)


def transcription(asked: ResponseContext) -> UnaryResponse:
    """Say how many bytes the file has and what their SHA-256 is, so that a test sees whether they came through.

    Raises ``EngineError``.
    """
    text, seconds = _heard(asked)
    answer = {"text": text, "usage": {"type": "duration", "seconds": seconds}}
    return UnaryResponse(msgspec.json.encode(answer), Work(seconds, 1))


def translation(asked: ResponseContext) -> UnaryResponse:
    """Say the same as ``transcription``, in the shape of a translation. Raises ``EngineError``."""
    text, seconds = _heard(asked)
    return UnaryResponse(msgspec.json.encode({"text": text}), Work(seconds, 1))


def _heard(asked: ResponseContext) -> tuple[str, int]:
    """Return the text, and the seconds of sound: as many as there are begun pieces of 32,000 bytes."""
    fields = form(asked.body, asked.content_type)
    check_model(fields.get("model", b"").decode(errors="replace"), asked.model)
    if "file" not in fields:
        raise missing("file")
    data = fields["file"]
    return f"{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}", -(-len(data) // 32_000)


def form(body: bytes, content_type: str) -> dict[str, bytes]:
    """Return the fields of a ``multipart/form-data`` body (RFC 7578). Raises ``EngineError``."""
    boundary = _BOUNDARY.match(content_type)
    if boundary is None:
        raise missing("file")
    _, *parts = (b"\r\n" + body).split(b"\r\n--" + boundary[1].encode())
    if not parts or not parts.pop().startswith(b"--"):
        raise EngineError("There was an error parsing the body", kind="Bad Request")
    fields: dict[str, bytes] = {}
    for part in parts:
        head, _, data = part.partition(b"\r\n\r\n")
        name = _NAME.search(head)
        if name is not None:
            fields[name[1].decode(errors="replace")] = data
    return fields
