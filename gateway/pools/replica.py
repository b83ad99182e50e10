"""One running copy of a model: its address, its state, and how many requests it has in flight."""

from __future__ import annotations

from collections.abc import Callable

from gateway.http.connection_pool import ConnectionPool

EJECT_AFTER_FAILURES = 3
"""Consecutive failed requests after which a replica is out until a probe succeeds."""


class Replica:
    """One running copy of a model: where it is, whether it may be asked, and how much it has to do from here."""

    __slots__ = (
        "_answered",
        "_changed",
        "_failures",
        "address",
        "connections",
        "headers",
        "in_flight",
        "knows_stream_options",
        "name",
        "ready",
        "reason",
        "state",
    )

    def __init__(
        self,
        name: str,
        connections: ConnectionPool,
        *,
        credentials: str | None = None,
        ready: bool = False,
    ) -> None:
        self.name = name
        self.connections = connections
        self.address = connections.address
        authorization = f"authorization: Bearer {credentials}\r\n".encode() if credentials else b""
        self.headers = b"host: %b\r\n%b" % (self.address.host_header, authorization)
        """The header lines that all requests to it begin with: its name, and its credentials where it wants some."""
        self.knows_stream_options = True
        """Whether a stream's usage may be asked for; strict servers refuse a field that they do not know."""
        self.in_flight = 0
        self.ready = ready
        self.state = "ready" if ready else "starting"
        self.reason = ""
        self._failures = 0
        self._answered = False
        self._changed: Callable[[], None] | None = None

    def __repr__(self) -> str:
        return f"<Replica {self.name!r} {self.address.url} [{self.state}; {self.in_flight} in flight]>"

    def on_readiness(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` from now on whenever the replica becomes ready or is no longer."""
        self._changed = changed

    def set_ready(self, *, ready: bool, state: str, reason: str = "") -> None:
        """Take note of what a probe or the supervisor found; ``reason`` is for people."""
        self.state, self.reason = state, reason
        if ready:
            self._failures = 0
        if ready != self.ready:
            self.ready = ready
            if self._changed is not None:
                self._changed()

    def entered(self) -> None:
        """Count a request that is sent to this replica."""
        self.in_flight += 1

    def left(self) -> None:
        """Count a request out that is no longer at this replica."""
        self.in_flight -= 1

    def succeeded(self) -> None:
        """Take note of a response to a request that does not say that the replica failed: it is well."""
        self._failures = 0
        self._answered = True

    def answered(self) -> bool:
        """Tell whether a request was answered since this was asked last."""
        answered, self._answered = self._answered, False
        return answered

    def failed(self, reason: str) -> None:
        """Take note of a request that got no response; several in a row put the replica out until a probe succeeds."""
        self._failures += 1
        if self._failures >= EJECT_AFTER_FAILURES and self.ready:
            self.set_ready(ready=False, state="failing", reason=reason)
