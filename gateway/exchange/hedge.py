"""The second attempt of a hedged request: another replica is asked where the first one is late."""

from __future__ import annotations

import asyncio
from typing import Protocol

from gateway.core.errors import GatewayError, Unavailable
from gateway.exchange.lease import Lease
from gateway.http.response_head import ResponseHead
from gateway.http.upstream import Receiver, UpstreamConnection, UpstreamError
from gateway.observe.counters import outcome_of
from gateway.pools.policies.policy import Routable
from gateway.pools.pool import Pool
from gateway.pools.replica import Replica


class Hedged(Protocol):
    """A request that a second replica may be asked for."""

    def send_on(self, connection: UpstreamConnection, replica: Replica) -> None:
        """Send the request to ``replica``; the response goes to the hedge."""

    def won(self, head: ResponseHead) -> None:
        """The second replica answers first: take its response over from its head on."""

    def hedge_failed(self, replica: Replica, outcome: str) -> None:
        """The second replica has no response; its attempt is counted as ``outcome``."""


class Hedge(Receiver):
    """The second attempt of one request: waits for its moment, asks, and hands its connection over when it wins.

    It is the receiver of its response up to the head. ``lease`` holds what it has taken, apart from the request's own.
    """

    __slots__ = ("_connecting", "_first", "_request", "_routable", "_timer", "first_error", "lease", "may_retry")

    def __init__(self, request: Hedged, pool: Pool, routable: Routable, first: Replica, delay: float) -> None:
        self._request = request
        self._routable = routable
        self._first = first
        self._connecting: asyncio.Task[None] | None = None
        self.first_error: GatewayError | None = None
        """What the first replica has failed with, while it is left to the second."""
        self.may_retry = True
        """Whether a third replica may be asked if the second fails like the first."""
        self.lease = Lease(pool, routable)
        self._timer = asyncio.get_running_loop().call_later(delay, self._ask)

    def __repr__(self) -> str:
        where = "waiting" if self.lease.replica is None else f"at {self.lease.replica.name}"
        return f"<Hedge of {self._request!r} [{where}]>"

    @property
    def replica(self) -> Replica | None:
        """The second replica, once it is asked."""
        return self.lease.replica

    def give_up(self) -> None:
        """Ask no more; an engine that is at work already is told by the closing of its connection."""
        self._timer.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        self.lease.leave_replica()

    # called by the second engine's connection

    def receive_head(self, head: ResponseHead) -> None:
        """Win with a response, or leave the first replica to it."""
        if retryable(head):
            self._fail(outcome_of(head.status))
        else:
            self._request.won(head)

    def receive_data(self, data: bytes) -> None:
        """Never called: a connection whose head has come belongs to the request, or is closed."""
        raise NotImplementedError

    def receive_end(self) -> None:
        """Never called, likewise."""
        raise NotImplementedError

    def receive_failure(self, error: UpstreamError) -> None:
        """Leave the first replica to it."""
        self._connecting = None
        replica = self.lease.replica
        assert replica is not None
        if not error.stale:
            replica.failed(str(error))
        self._fail("failed")

    # inside

    def _fail(self, outcome: str) -> None:
        replica = self.lease.replica
        assert replica is not None
        self.lease.leave_replica()
        self._request.hedge_failed(replica, outcome)

    def _ask(self) -> None:
        pool, hedging = self.lease.pool, self.lease.pool.hedging
        assert hedging is not None
        if not hedging.spend():
            return
        try:
            replica = pool.pick(self._routable, (self._first,))
        except Unavailable:
            return
        self.lease.take(replica)
        connection = replica.connections.take()
        if connection is None:
            self._connecting = replica.connections.connect(self._send, self.receive_failure)
        else:
            self._send(connection)

    def _send(self, connection: UpstreamConnection) -> None:
        self._connecting = None
        replica = self.lease.replica
        assert replica is not None
        self.lease.connection = connection
        self._request.send_on(connection, replica)


def retryable(head: ResponseHead) -> bool:
    """Whether a response is no response to the request but says that this replica has none."""
    return head.status >= 500 or head.status == 429
