"""vLLM's errors."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

_TYPES = {400: "BadRequestError", 404: "NotFoundError", 500: "InternalServerError", 501: "NotImplementedError"}
"""The statuses whose ``type`` is not the phrase of HTTP."""

_MESSAGES = {
    400: "This model's maximum context length is 2048 tokens. "
    "However, your prompt contains at least 2049 input tokens.",
    404: "The model `other` does not exist. Valid aliases: sim.",
    500: "'NoneType' object has no attribute 'outputs'",
    503: "The engine is currently busy and cannot accept new requests. "
    "Please try again later or on a different instance.",
}


UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises for what is not JSON, not UTF-8, or nested without an end."""


class EngineError(Exception):
    """A request that vLLM refuses."""

    def __init__(self, message: str, status: int = 400, param: str | None = None, kind: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.param = param
        self.kind = kind or _TYPES.get(status) or phrase(status)

    @classmethod
    def of_status(cls, status: int) -> EngineError:
        """Return the error that this status usually stands for."""
        return cls(_MESSAGES.get(status, phrase(status)), status)

    def encode(self) -> bytes:
        """Return the body, as all endpoints but Anthropic's have it."""
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.status}
        return msgspec.json.encode({"error": error})

    def encode_for_messages(self) -> bytes:
        """Return the body as ``/v1/messages`` has it."""
        return msgspec.json.encode({"type": "error", "error": {"type": self.kind, "message": self.message}})


def phrase(status: int) -> str:
    """Return HTTP's phrase for a status, or ``Unknown``."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
