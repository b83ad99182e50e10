"""What one request holds on its way through: taken piece by piece, given back in one place."""

from __future__ import annotations

from gateway.http.upstream import UpstreamConnection
from gateway.pools.policies.policy import Routable
from gateway.pools.pool import Pool
from gateway.pools.replica import Replica


class Lease:
    """All that one exchange holds: slot, in-flight count, tokens in flight, connection. Released exactly once."""

    __slots__ = ("_request", "_slot", "_tokens", "connection", "pool", "replica")

    def __init__(self, pool: Pool, request: Routable) -> None:
        self.pool = pool
        self._request = request
        self._slot = False
        self._tokens = 0
        self.replica: Replica | None = None
        self.connection: UpstreamConnection | None = None

    def __repr__(self) -> str:
        where = "nowhere" if self.replica is None else f"at {self.replica.name}"
        return f"<Lease of {self.pool.name!r} [{'a' if self._slot else 'no'} slot; {where}]>"

    def admitted(self, tokens: int) -> None:
        """Hold a slot, which admission has given, and count the tokens that may be produced."""
        self._slot = True
        self._tokens = tokens
        self.pool.tokens_in_flight += tokens

    def take(self, replica: Replica) -> None:
        """Count as in flight at a replica."""
        self.replica = replica
        replica.load.entered()

    def leave_replica(self) -> None:
        """Be in flight nowhere; a connection that is still held is closed, which aborts the engine's work."""
        connection, replica = self.connection, self.replica
        if connection is not None:
            self.connection = None
            connection.abort()
        if replica is not None:
            self.replica = None
            replica.load.left()
            if self.pool.released is not None:
                self.pool.released(replica, self._request)

    def take_over(self, other: Lease) -> None:
        """Leave the own replica, and be where ``other`` is, which then is nowhere."""
        self.leave_replica()
        self.replica, other.replica = other.replica, None
        self.connection, other.connection = other.connection, None

    def release(self) -> None:
        """Give everything back; harmless when there is nothing left."""
        self.leave_replica()
        if self._slot:
            self._slot = False
            pool = self.pool
            pool.tokens_in_flight -= self._tokens
            pool.admission.release()
