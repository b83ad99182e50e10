"""What can go wrong: with a request, told to the client, or with a model's files, told to the operator."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import msgspec


class RequestError(Exception):
    """An error that ends a request with an error response in vLLM's shape.

    ``param`` names the offending field as a path (``input[3]``), ``retry_after`` is in seconds.
    """

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "InternalServerError"

    def __init__(self, message: str, *, param: str | None = None, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after

    def body(self) -> bytes:
        """Give the error object as JSON."""
        return error_body(self.message, self.kind, self.status, self.param)


class BadRequest(RequestError):
    """The request cannot mean anything; sending it again will not help."""

    status = 400
    kind = "BadRequestError"


class ModelNotFound(RequestError):
    """The request names a model that this process does not serve."""

    status = 404
    kind = "NotFoundError"


class Overloaded(RequestError):
    """More tokens wait than the queue may hold."""

    status = 503
    kind = "ServiceUnavailableError"


class InferenceFailed(RequestError):
    """ONNX Runtime refused a batch that passed every check."""


class ModelError(Exception):
    """A file of the model is missing, broken or does not fit the others."""

    def __init__(self, file: Path, reason: str) -> None:
        super().__init__(f"{file}: {reason}")
        self.file = file
        self.reason = reason


def error_body(message: str, kind: str, status: int, param: str | None = None) -> bytes:
    """Encode vLLM's error object, whose ``code`` is the HTTP status."""
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": param, "code": status}})
