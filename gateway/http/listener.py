"""All connections of one listening address: counted, limited, and closed when their deadlines pass."""

from __future__ import annotations

from typing import Protocol

from gateway.core.errors import (
    ConnectionsExhausted,
    GatewayError,
    TooManyConnections,
)
from gateway.core.ticker import Sweep
from gateway.http.application import Application, WireLimits, WireTimeouts
from gateway.http.request_head import RequestIds
from gateway.http.wire_counts import WireCounts


class Connection(Protocol):
    """What a listener asks of each of its connections."""

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""

    @property
    def unwritten(self) -> int:
        """How many bytes of responses have not left yet."""

    def tick(self, now: float) -> None:
        """Enforce the connection's deadlines; ``now`` is a ``perf_counter`` reading."""

    def close_when_idle(self) -> None:
        """Close now, or after the response under way."""


class Listener:
    """All connections of one listening address: counts them, limits them, watches their deadlines."""

    def __init__(
        self,
        application: Application,
        limits: WireLimits,
        timeouts: WireTimeouts,
        counts: WireCounts | None = None,
        *,
        fast_paths: bool = True,
    ) -> None:
        self.application = application
        self.counts = WireCounts() if counts is None else counts
        self.fast_paths = fast_paths
        """Whether heads that come again are recognised by their bytes."""
        self.set_limits(limits, timeouts)
        self.request_ids = RequestIds()
        self.connections: set[Connection] = set()
        self.per_client: dict[str, int] = {}
        self.closing = False
        self._sweep: Sweep[Connection] = Sweep(ticks=10, at_once=50)

    def set_limits(self, limits: WireLimits, timeouts: WireTimeouts) -> None:
        """Hold to other limits and times from now on; what is being received keeps those that it began with."""
        self.limits = limits
        self.timeouts = timeouts
        # Looked at for every request; an attribute of a pydantic model takes many times as long.
        self.max_body_bytes = limits.max_body_bytes
        self.max_total_body_bytes = limits.max_total_body_bytes
        self.receive = timeouts.receive
        self.keep_alive = timeouts.keep_alive

    def __repr__(self) -> str:
        busy = sum(1 for connection in self.connections if connection.busy)
        return f"<Listener [{len(self.connections)} connections, {busy} busy]>"

    @property
    def unwritten(self) -> bool:
        """Whether there are answers that have not left yet: some clients read slowly."""
        return any(connection.unwritten for connection in self.connections)

    def add(self, connection: Connection, client: str) -> GatewayError | None:
        """Count a connection in, and say why it may not stay if it may not."""
        self.connections.add(connection)
        counts = self.counts
        counts.connections += 1
        held = self.per_client.get(client, 0) + 1
        self.per_client[client] = held
        if len(self.connections) > self.limits.max_connections:
            counts.refused["max_connections"] += 1
            return ConnectionsExhausted(
                "The gateway holds as many connections as it may; try again shortly.", retry_after=1.0
            )
        allowed = self.limits.max_connections_per_client
        if allowed and held > allowed:
            counts.refused["max_connections_per_client"] += 1
            return TooManyConnections(
                f"This address holds {allowed} connections, as many as a client may; close some or reuse them.",
                retry_after=1.0,
            )
        return None

    def remove(self, connection: Connection, client: str) -> None:
        """Count a connection out."""
        self.connections.discard(connection)
        self.counts.connections -= 1
        held = self.per_client.get(client, 0) - 1
        if held > 0:
            self.per_client[client] = held
        else:
            self.per_client.pop(client, None)

    def tick(self, now: float) -> None:
        """Enforce deadlines, of some of the connections at each tick; ``now`` is a ``perf_counter`` reading."""
        for connection in self._sweep.next_batch(self.connections):
            if connection in self.connections:
                connection.tick(now)

    def close_idle(self) -> None:
        """Close every connection that has no request under way, and the others after their response."""
        self.closing = True
        for connection in list(self.connections):
            connection.close_when_idle()
