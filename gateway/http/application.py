"""What the HTTP server calls: the application behind it, and the limits that it enforces for it."""

from __future__ import annotations

from typing import Protocol

from gateway.core.context import RequestContext, RequestHead
from gateway.core.errors import (
    GatewayError,
)
from gateway.http.downstream import Downstream


class InFlight(Protocol):
    """Whatever is at work on a connection's current request."""

    def client_left(self, reason: str) -> None:
        """Abort: nobody waits for the response any more. ``reason`` is ``client_left`` or ``client_stalled``."""

    def pause(self) -> None:
        """Produce nothing more until ``resume``: the client does not keep up."""

    def resume(self) -> None:
        """Go on."""


class Application(Protocol):
    """What the wire hands its requests to; it refuses one by raising a ``GatewayError``."""

    @property
    def snapshot(self) -> object:
        """What ``admit_head`` decides by: another object as soon as it may decide otherwise about the same head."""

    def admit_head(self, head: RequestHead) -> None:
        """Look at the head, before the body is received: path, method, key, media type."""

    def answer(self, context: RequestContext, downstream: Downstream) -> InFlight | None:
        """Begin to answer a whole request; ``None`` if the response is already written."""

    def refused(self, context: RequestContext, error: GatewayError) -> bytes:
        """Give the body of an error response, in the shape that the request's endpoint uses."""

    def ended(self, context: RequestContext, now: float) -> None:
        """Account for a request that is over, whatever its end; ``now`` is a ``perf_counter`` reading."""


class WireLimits(Protocol):
    """The part of ``[gateway.limits]`` that the wire enforces."""

    @property
    def max_body_bytes(self) -> int:
        """Largest body, in bytes."""

    @property
    def max_total_body_bytes(self) -> int:
        """Most bytes of bodies held at once."""

    @property
    def max_head_bytes(self) -> int:
        """Largest request line and headers together, in bytes."""

    @property
    def max_headers(self) -> int:
        """Most header lines."""

    @property
    def max_connections(self) -> int:
        """Most connections in all."""

    @property
    def max_connections_per_client(self) -> int:
        """Most connections of one address; 0 for no limit."""


class WireTimeouts(Protocol):
    """The part of ``[gateway.timeouts]`` that the wire enforces, in seconds."""

    @property
    def receive(self) -> float:
        """From a request's first byte to its last."""

    @property
    def keep_alive(self) -> float:
        """How long a connection may stay without a request."""

    @property
    def stalled_client(self) -> float:
        """How long a client may read nothing of a complete response, or of as much as is held for it."""
