"""What the gateway knows about one request: the object that travels the whole way with it."""

from __future__ import annotations

from time import perf_counter
from typing import Any, Protocol

import msgspec

from gateway.core.errors import GatewayError
from gateway.core.keys import ANYONE, Key
from gateway.core.limits import Reservation
from gateway.core.recording import Recording

INTERNAL = "internal"
"""The client of a request that the gateway makes itself, because one of a client's waits for it."""

BATCH = "batch"
"""The client of a request that is a line of a batch, for which nobody waits."""


class BodyLimit(msgspec.Struct, frozen=True):
    """How many bytes a body may have that is streamed to whoever answers, and the option that says so."""

    max_bytes: int
    option: str


class BodyReader(Protocol):
    """The body of a request as a stream, for one reader."""

    async def read(self) -> bytes:
        """Wait for bytes and return all there are; none at the end of the body.

        Raises the ``GatewayError`` that has ended a body too early.
        """

    async def discard(self) -> None:
        """Throw away what still comes, so that the client can read why its request is refused."""


class RequestHead(msgspec.Struct, eq=False):
    """What a request's head says, and what follows from that alone; filled in before its body comes, and then fixed.

    Requests with the same head share it. Headers are keyed by lower-case name, without ``content-length``, which the
    body says itself.
    """

    client: str
    method: bytes = b""
    path: bytes = b""
    target: bytes = b""
    """The path and its query, as they came."""
    version: str = "1.1"
    headers: dict[bytes, bytes] = {}
    endpoint: str = "unknown"
    match: Any = None
    """The row of the table of routes, as the application has found it."""
    key: Key = ANYONE
    streamed: BodyLimit | None = None
    """The limit of a body that is streamed; ``None``: it is collected, within the limit of the wire."""
    timeout: float | None = None
    """Longest the client will wait, in seconds, if it says so."""
    headers_up: bytes = b""
    """Those lines of it that an engine gets."""
    headers_down: bytes = b""
    """Lines that each of their responses gets."""
    trace: bytes = b""
    """The client's trace context, as the lines that an engine gets; empty without a valid one."""
    logged: bytes = b""
    """The end of its line in the access log, where that is encoded already."""


class RequestContext(msgspec.Struct, eq=False):
    """The facts of one request, filled in on its way and read once at its end.

    All moments are ``time.perf_counter()`` readings in seconds; ``None`` says that the request never got there.
    ``model`` is a configured model's name or ``"unknown"``, never what a client made up, so that it can become a
    metric's label.
    """

    head: RequestHead
    request_id: str = ""
    body: bytes = b""
    received_at: float = msgspec.field(default_factory=perf_counter)
    """When its last byte had come."""
    keep_alive: bool = True
    model: str = "unknown"
    replica: str = ""
    """The one that was asked last."""
    retries: int = 0
    """How many were asked before that."""
    status: int = 0
    error: GatewayError | None = None
    response_headers: bytes = b""
    """Lines that this response gets beside those of its head."""
    trace: bytes = b""
    """The trace context that an engine gets, as lines: the client's, or that of a new trace."""
    recording: Recording | None = None
    """What its spans are made of, if they are recorded."""
    streamed: bool = False
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    queued_for: float = 0.0
    first_token_at: float | None = None
    reservation: Reservation | None = None
    """What it holds of its key's limits."""
    overhead: float = 0.0
    """The gateway's own seconds: from the last byte to the engine, less the queue, and the relaying. 0 if no engine was
    asked."""
    stream: BodyReader | None = None
    """The body, where it is streamed and not collected."""

    def __repr__(self) -> str:
        line = f"{self.head.method.decode('ascii', 'replace')} {self.head.path.decode('latin-1')}"
        outcome = f"{self.status}" if self.status else "in flight"
        return f"<Request {self.request_id or '-'} {line!r} model={self.model} [{outcome}]>"
