"""What the gateway knows about one request: the object that travels the whole way with it."""

from __future__ import annotations

from time import perf_counter

from gateway.auth import ANYONE, Key
from gateway.errors import GatewayError


class RequestContext:
    """The facts of one request, filled in on its way and read once at its end.

    All moments are ``time.perf_counter()`` readings in seconds; ``None`` says that the request never got there. Headers
    are keyed by lower-case name. ``model`` is a configured model's name or ``"unknown"``, never what a client made up,
    so that it can become a metric's label.
    """

    __slots__ = (
        "answer_headers",
        "attempts",
        "body",
        "cached_tokens",
        "client",
        "endpoint",
        "error",
        "finished_at",
        "first_byte_at",
        "first_token_at",
        "headers",
        "input_tokens",
        "keep_alive",
        "key",
        "method",
        "model",
        "output_tokens",
        "path",
        "query",
        "queued_for",
        "received_at",
        "relayed_for",
        "replica",
        "request_id",
        "sent_at",
        "started_at",
        "status",
        "streamed",
        "version",
    )

    def __init__(self, client: str) -> None:
        self.client = client
        self.method = b""
        self.path = b""
        self.query = b""
        self.version = "1.1"
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.keep_alive = True
        self.request_id = ""
        self.endpoint = "unknown"
        self.model = "unknown"
        self.key: Key = ANYONE
        self.answer_headers = b""
        self.replica = ""
        self.attempts = 0
        self.status = 0
        self.error: GatewayError | None = None
        self.streamed = False
        self.input_tokens = 0
        self.output_tokens = 0
        self.cached_tokens = 0
        self.started_at = perf_counter()
        self.received_at = self.started_at
        self.queued_for = 0.0
        self.sent_at: float | None = None
        self.first_byte_at: float | None = None
        self.first_token_at: float | None = None
        self.relayed_for = 0.0
        self.finished_at: float | None = None

    @property
    def overhead(self) -> float:
        """The gateway's own seconds: from the request's last byte to the engine, less the queue, and the relaying."""
        if self.sent_at is None:
            return 0.0
        return max(0.0, self.sent_at - self.received_at - self.queued_for) + self.relayed_for

    def __repr__(self) -> str:
        line = f"{self.method.decode('ascii', 'replace')} {self.path.decode('latin-1')}"
        outcome = f"{self.status}" if self.status else "in flight"
        return f"<Request {self.request_id or '-'} {line!r} model={self.model} [{outcome}]>"
