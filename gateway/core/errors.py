"""The one tree of errors that a client can be answered with.

Each class fixes what never varies: the HTTP status, OpenAI's ``type`` and the machine-readable ``code``. An instance
adds the message for a person, the offending field (``param``) and, where waiting helps, for how long (``retry_after``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import msgspec

_ANTHROPIC_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


class GatewayError(Exception):
    """Anything that ends a request with an error response; the message says what to do next.

    ``retry_after`` is in seconds. ``closes`` says that the connection cannot be used any further, because what follows
    on it can no longer be told apart from the refused request.
    """

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "server_error"
    code: str | None = None
    closes: ClassVar[bool] = False

    def __init__(
        self, message: str, *, param: str | None = None, code: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after
        if code is not None:
            self.code = code

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.status} {self.code or self.kind}: {self.message}>"

    def body(self) -> bytes:
        """Give OpenAI's error object as JSON."""
        return msgspec.json.encode(
            {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}
        )

    def anthropic_body(self) -> bytes:
        """Give Anthropic's error object as JSON; it keeps ``param`` and ``code``, which Anthropic's clients ignore."""
        kind = _ANTHROPIC_TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "api_error")
        error = {"type": kind, "message": self.message, "param": self.param, "code": self.code}
        return msgspec.json.encode({"type": "error", "error": error})


class BadRequest(GatewayError):
    """The request cannot mean anything; sending it again will not help."""

    status = 400
    kind = "invalid_request_error"


class MalformedHttp(BadRequest):
    """The bytes are not unambiguous HTTP/1.1."""

    code = "malformed_http"
    closes = True


class InvalidKey(BadRequest):
    """No key, or one that is not known."""

    status = 401
    code = "invalid_api_key"


class ModelNotAllowed(BadRequest):
    """A valid key, but not for this model."""

    status = 403
    code = "model_not_allowed"


class ModelNotFound(BadRequest):
    """No pool has that name or alias."""

    status = 404
    code = "model_not_found"


class UnknownUrl(BadRequest):
    """The path is not part of the data plane's surface."""

    status = 404
    code = "unknown_url"


class MethodNotAllowed(BadRequest):
    """The path exists, the method does not; ``allow`` names those that do."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, message: str, *, allow: str) -> None:
        super().__init__(message)
        self.allow = allow


class RequestTimeout(BadRequest):
    """The client took too long to send its request."""

    status = 408
    code = "request_timeout"
    closes = True


class BodyTooLarge(BadRequest):
    """The body is over the limit, as announced or as counted."""

    status = 413
    code = "request_too_large"
    closes = True


class UnsupportedMediaType(BadRequest):
    """The body is of a type that the endpoint does not read."""

    status = 415
    code = "unsupported_media_type"


class HeadTooLarge(BadRequest):
    """The request line and headers are over the limit."""

    status = 431
    code = "headers_too_large"
    closes = True


class RateLimited(GatewayError):
    """The caller exceeded a limit of its own."""

    status = 429
    kind = "rate_limit_error"
    code = "rate_limit_exceeded"


class TooManyConnections(RateLimited):
    """One address holds more connections than a client may."""

    closes = True


class Unavailable(GatewayError):
    """The gateway is full or not ready; the same request will succeed later."""

    status = 503
    kind = "service_unavailable_error"
    code = "server_is_overloaded"


class ConnectionsExhausted(Unavailable):
    """The gateway holds as many connections as it may."""

    closes = True


class QueueTimeout(Unavailable):
    """The request waited for a slot until its time was up."""

    code = "queue_timeout"


class NoReadyReplica(Unavailable):
    """The model exists, but none of its replicas can answer now."""

    code = "no_ready_replica"


class ShuttingDown(Unavailable):
    """The gateway drains; another one will take the request."""

    code = "shutting_down"


class UpstreamFailed(GatewayError):
    """The engine closed, refused, crashed or sent what is not a response."""

    status = 502
    code = "upstream_failed"


class UpstreamTimeout(GatewayError):
    """The engine was silent for too long."""

    status = 504
    code = "upstream_timeout"


class EngineRefusal(GatewayError):
    """An error that the engine itself answered with, in our shape; status and type are the engine's."""

    def __init__(self, status: int, message: str, *, kind: str, code: str | None, param: str | None) -> None:
        super().__init__(message, code=code, param=param)
        self.status = status  # type: ignore[misc]
        self.kind = kind  # type: ignore[misc]


class _Described(NamedTuple):
    message: str
    code: str | None
    param: str | None


def from_engine(status: int, body: bytes, retry_after: float | None = None) -> GatewayError:
    """Turn an engine's error response into ours, keeping its message.

    vLLM puts an HTTP phrase into ``type`` and an integer into ``code``, FastAPI answers ``{"detail": …}``, and a proxy
    in between may answer HTML; all of them become the one shape that OpenAI's clients read.
    """
    described = _describe(body)
    message = described.message or f"The engine answered {status} without saying why."
    if status in (401, 403, 407):
        return UpstreamFailed(
            "The engine refused the gateway's own credentials; the operator must check api_key_env of this model."
        )
    if status == 429:
        return RateLimited(message, code=described.code, retry_after=retry_after)
    if status == 503:
        return Unavailable(message, code=described.code, retry_after=retry_after)
    if status == 504:
        return UpstreamTimeout(message)
    if status >= 500:
        return UpstreamFailed(message)
    code = described.code
    if code is None and "maximum context length" in message:
        code = "context_length_exceeded"
    return EngineRefusal(status, message, kind="invalid_request_error", code=code, param=described.param)


def _describe(body: bytes) -> _Described:
    """Find message, code and field in whatever an engine sent as the body of an error."""
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Described(body[:300].decode("utf-8", "replace").strip(), None, None)
    if not isinstance(decoded, dict):
        return _Described(str(decoded)[:300], None, None)
    error = decoded.get("error", decoded)
    if isinstance(error, str):
        return _Described(error, None, None)
    if not isinstance(error, dict):
        return _Described("", None, None)
    message = error.get("message") or error.get("detail") or ""
    code = error.get("code")
    param = error.get("param")
    return _Described(
        message if isinstance(message, str) else msgspec.json.encode(message).decode(),
        code if isinstance(code, str) else None,
        param if isinstance(param, str) else None,
    )
