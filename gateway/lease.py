"""What one request holds on its way through: taken piece by piece, given back in one place."""

from __future__ import annotations

import msgspec

from gateway.admission import Slot
from gateway.http.client import UpstreamConnection
from gateway.registry import Pool, Replica


class Lease(msgspec.Struct, eq=False):
    """All that one exchange holds: slot, in-flight count, tokens in flight, connection. Released exactly once."""

    pool: Pool
    tokens: int = 0
    slot: Slot | None = None
    replica: Replica | None = None
    connection: UpstreamConnection | None = None

    def admitted(self, slot: Slot, tokens: int) -> None:
        """Hold a slot, and count the tokens that may be produced."""
        self.slot = slot
        self.tokens = tokens
        self.pool.tokens_in_flight += tokens

    def take(self, replica: Replica) -> None:
        """Count as in flight at a replica."""
        self.replica = replica
        replica.entered()

    def leave_replica(self) -> None:
        """Be in flight nowhere; a connection that is still held is closed, which aborts the engine's work."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.abort()
        replica, self.replica = self.replica, None
        if replica is not None:
            replica.left()

    def take_over(self, other: Lease) -> None:
        """Leave the own replica, and be where ``other`` is, which then is nowhere."""
        self.leave_replica()
        self.replica, other.replica = other.replica, None
        self.connection, other.connection = other.connection, None

    def release(self) -> None:
        """Give everything back; harmless when there is nothing left."""
        self.leave_replica()
        slot, self.slot = self.slot, None
        if slot is not None:
            self.pool.tokens_in_flight -= self.tokens
            slot.release()
