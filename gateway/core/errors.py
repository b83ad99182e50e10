"""The one tree of errors that end a request.

Each class fixes what seldom varies: the HTTP status, the ``type`` and the machine-readable ``code``, who caused it, and
whether another attempt may help. An instance adds the message for a person, the offending field (``param``) and, where
waiting helps, for how long (``retry_after``); what an engine said replaces the words of the class.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto

import msgspec
from msgspec import Raw

_ANTHROPIC_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}

_ALL_ANTHROPIC_TYPES = frozenset({*_ANTHROPIC_TYPES.values(), "api_error", "invalid_request_error"})


class Source(Enum):
    """Who caused an error."""

    CLIENT = auto()
    GATEWAY = auto()
    ENGINE = auto()


class Retry(Enum):
    """Whether the gateway may try again, at another replica, what ended with this error."""

    YES = auto()
    NO = auto()
    REUSED = auto()
    """Only where the connection was a reused one: the engine may have closed it before it saw the request."""


class GatewayError(Exception):
    """Anything that ends a request with an error response; the message says what to do next.

    ``kind`` is the ``type`` in the error object, ``details`` are further fields of it, as an engine wrote them.
    ``retry_after`` is in seconds. ``headers`` are whole header lines that the response gets. ``closes`` says that the
    connection cannot be used any further, because what follows on it can no longer be told apart from the refused
    request.
    """

    status: int = 500
    kind: str = "server_error"
    code: str | None = None
    source: Source = Source.GATEWAY
    retry: Retry = Retry.NO
    headers: bytes = b""
    details: Mapping[str, Raw] = {}
    closes: bool = False
    reason: str = ""
    """Which of the restrictions of a key refused the request, if one did; a label of metrics."""

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        kind: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after
        if code is not None:
            self.code = code
        if kind is not None:
            self.kind = kind

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.status} {self.code or self.kind}: {self.message}>"

    def fields(self) -> dict[str, object]:
        """Give the fields of OpenAI's error object."""
        return {"message": self.message, "type": self.kind, "param": self.param, "code": self.code, **self.details}

    def body(self) -> bytes:
        """Give OpenAI's error object as JSON."""
        return msgspec.json.encode({"error": self.fields()})

    def anthropic_body(self) -> bytes:
        """Give Anthropic's error object as JSON; it keeps ``param`` and ``code``, which Anthropic's clients ignore."""
        kind = self.kind
        if kind not in _ALL_ANTHROPIC_TYPES:
            kind = "invalid_request_error" if self.status < 500 else "api_error"
        # A status with a type of its own says more than a general type does.
        if kind in ("invalid_request_error", "api_error"):
            kind = _ANTHROPIC_TYPES.get(self.status, kind)
        return msgspec.json.encode({"type": "error", "error": self.fields() | {"type": kind}})


class BadRequest(GatewayError):
    """The request cannot mean anything; sending it again will not help."""

    status = 400
    kind = "invalid_request_error"
    source = Source.CLIENT


class MalformedHttp(BadRequest):
    """The bytes are not unambiguous HTTP/1.1."""

    code = "malformed_http"
    closes = True


class InvalidKey(BadRequest):
    """No key, or one that is not known. The response names the scheme to authenticate by (RFC 9110, section 11.6.1)."""

    status = 401
    code = "invalid_api_key"
    headers = b"www-authenticate: Bearer\r\n"


class ExpiredKey(InvalidKey):
    """A key that was valid until its time was up."""

    code = "expired_api_key"
    reason = "expired"


class ModelNotAllowed(BadRequest):
    """A valid key, but not for this model."""

    status = 403
    code = "model_not_allowed"
    reason = "model"


class EndpointNotAllowed(BadRequest):
    """A valid key, but not for this endpoint."""

    status = 403
    code = "endpoint_not_allowed"
    reason = "endpoint"


class TuningNotAllowed(BadRequest):
    """A valid key, but not for fine-tuning."""

    status = 403
    code = "tuning_not_allowed"
    reason = "tune"


class ModelNotFound(BadRequest):
    """No pool has that name or alias."""

    status = 404
    code = "model_not_found"


class ObjectNotFound(BadRequest):
    """There is no such object of a client's with that id, or it is another key's."""

    status = 404
    code = "not_found"


class InvalidFile(BadRequest):
    """The content of a file is not what its purpose needs."""

    code = "invalid_file"


class FileTooLarge(BadRequest):
    """A file, or a part of one, is over its limit; the request could be read all the same."""

    status = 413
    code = "file_too_large"


class StorageLimitExceeded(BadRequest):
    """The files of a key would take more room than they may."""

    status = 413
    code = "storage_limit_exceeded"


class UploadNotPending(BadRequest):
    """The upload has been completed or cancelled, or has expired: nothing can be added to it."""

    code = "upload_not_pending"


class BatchEnded(BadRequest):
    """The batch is over, or about to be: there is nothing left of it to cancel."""

    code = "batch_not_cancellable"


class ContentBlocked(BadRequest):
    """A guard model found in the request what it is to block."""

    code = "content_filter"


class UnknownUrl(BadRequest):
    """The path is not part of the data plane's surface."""

    status = 404
    code = "unknown_url"


class MethodNotAllowed(BadRequest):
    """The path exists, the method does not; ``allow`` names those that do (RFC 9110, section 15.5.6)."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, message: str, *, allow: str) -> None:
        super().__init__(message)
        self.headers = b"allow: %b\r\n" % allow.encode("ascii")


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


class UnsupportedCoding(UnsupportedMediaType):
    """The body is compressed. The response names what is read instead (RFC 9110, section 15.5.16)."""

    headers = b"accept-encoding: identity\r\n"


class HeadTooLarge(BadRequest):
    """The request line and headers are over the limit."""

    status = 431
    code = "headers_too_large"
    closes = True


class StorageFailed(GatewayError):
    """The folder for files cannot be read or written; to try again at once does not help."""

    code = "storage_failed"
    headers = b"x-should-retry: false\r\n"


class InsufficientStorage(StorageFailed):
    """The disk is full (RFC 4918, section 11.5)."""

    status = 507
    code = "insufficient_storage"


class RateLimited(GatewayError):
    """The caller exceeded a limit of its own."""

    status = 429
    source = Source.CLIENT
    kind = "rate_limit_error"
    code = "rate_limit_exceeded"


class LimitExceeded(RateLimited):
    """A limit of a key or of its group is used up; ``kind`` is what it counts, as OpenAI says it.

    Without ``retry_after`` the request alone is larger than the limit, and to send it again does not help.
    """

    def __init__(self, message: str, *, reason: str, kind: str, retry_after: float | None) -> None:
        super().__init__(message, kind=kind, retry_after=retry_after)
        self.reason = reason
        if retry_after is None:
            self.headers = b"x-should-retry: false\r\n"


class TooManyBatches(RateLimited):
    """The caller has as many batches under way as it may; to try again at once does not help."""

    code = "batch_limit_exceeded"
    headers = b"x-should-retry: false\r\n"


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


class BodyMemoryExhausted(Unavailable):
    """The gateway holds as many bytes of bodies as it may."""

    code = "body_memory_exhausted"


class GatewayOverloaded(Unavailable):
    """The gateway's event loop is late, and requests of this class are refused until it is not."""

    code = "gateway_overloaded"


class QueueFull(Unavailable):
    """All slots are taken, and as many requests wait as may."""

    code = "queue_full"


class DeadlineUnreachable(Unavailable):
    """The request would wait longer for a slot than it can, as fast as slots become free now."""

    code = "deadline_unreachable"


class QueueTimeout(Unavailable):
    """The request waited for a slot until its time was up."""

    code = "queue_timeout"


class NoReadyReplica(Unavailable):
    """The model exists, but none of its replicas can answer now."""

    code = "no_ready_replica"


class AdapterNotLoaded(Unavailable):
    """The LoRA adapter exists, but none of the replicas that can answer now has loaded it."""

    code = "adapter_not_loaded"


class GuardFailed(Unavailable):
    """The guard model that must look at the request first could not."""

    code = "guard_failed"


class ShuttingDown(Unavailable):
    """The gateway drains; another one will take the request."""

    code = "shutting_down"


class UpstreamFailed(GatewayError):
    """The engine closed, refused, crashed or sent what is not a response."""

    status = 502
    code = "upstream_failed"
    source = Source.ENGINE
    retry = Retry.YES


class UpstreamTimeout(GatewayError):
    """The engine was silent for too long."""

    status = 504
    code = "upstream_timeout"
    source = Source.ENGINE


class ConnectTimeout(UpstreamTimeout):
    """The engine did not accept a connection in time (``timeouts.connect``)."""

    code = "connect_timeout"
    retry = Retry.YES


class FirstByteTimeout(UpstreamTimeout):
    """The engine did not begin to answer in time (``timeouts.first_byte``)."""

    code = "first_byte_timeout"
    retry = Retry.YES


class BetweenBytesTimeout(UpstreamTimeout):
    """The engine fell silent within its response (``timeouts.between_bytes``)."""

    code = "between_bytes_timeout"
    retry = Retry.YES


class TotalTimeout(UpstreamTimeout):
    """The request took longer than it may in all (``timeouts.total``, or what its client allows)."""

    code = "total_timeout"


class EngineRefusal(GatewayError):
    """An error that the engine itself answered with, in our shape; its status is the engine's."""

    kind = "invalid_request_error"
    source = Source.ENGINE

    def __init__(
        self, status: int, message: str, *, kind: str | None = None, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message, kind=kind, code=code, param=param)
        self.status = status
