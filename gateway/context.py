"""What the gateway knows about one request: the object that travels the whole way with it."""

from __future__ import annotations

from time import perf_counter

import msgspec

from gateway.auth import ANYONE, Key
from gateway.errors import GatewayError


class RequestContext(msgspec.Struct, eq=False):
    """The facts of one request, filled in on its way and read once at its end.

    All moments are ``time.perf_counter()`` readings in seconds; ``None`` says that the request never got there. Headers
    are keyed by lower-case name, without ``content-length``, which the body says itself. ``model`` is a configured
    model's name or ``"unknown"``, never what a client made up, so that it can become a metric's label.
    """

    client: str
    request_id: str = ""
    method: bytes = b""
    path: bytes = b""
    target: bytes = b""
    """The path and its query, as they came."""
    version: str = "1.1"
    headers: dict[bytes, bytes] = {}
    headers_up: bytes = b""
    body: bytes = b""
    keep_alive: bool = True
    endpoint: str = "unknown"
    model: str = "unknown"
    key: Key = ANYONE
    answer_headers: bytes = b""
    asked: bytes = b""
    """The end of its line in the access log, which its head says, where that is encoded already."""
    replica: str = ""
    """The one that was asked last."""
    retries: int = 0
    """How many were asked before that."""
    status: int = 0
    error: GatewayError | None = None
    streamed: bool = False
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    received_at: float = msgspec.field(default_factory=perf_counter)
    """When its last byte had come."""
    queued_for: float = 0.0
    first_token_at: float | None = None
    overhead: float = 0.0
    """The gateway's own seconds: from the last byte to the engine, less the queue, and the relaying. 0 if no engine was
    asked."""

    def __repr__(self) -> str:
        line = f"{self.method.decode('ascii', 'replace')} {self.path.decode('latin-1')}"
        outcome = f"{self.status}" if self.status else "in flight"
        return f"<Request {self.request_id or '-'} {line!r} model={self.model} [{outcome}]>"
