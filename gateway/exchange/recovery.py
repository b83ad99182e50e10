"""The recovery of one stream: its replica has died after tokens were sent, and others go on where it stopped."""

from __future__ import annotations

from typing import Literal

import msgspec

from gateway.core.errors import GatewayError
from gateway.exchange.ports import Continuation
from gateway.exchange.upstream_request import UpstreamRequest

Outcome = Literal["recovered", "failed", "ineligible", "no_replica", "over_budget", "aborted"]


class Recovery:
    """What a stream began with, what has cut it for the first time, and how it goes on.

    ``request`` is what the first replica was asked; ``error`` is what the client is told if nobody can go on.
    """

    __slots__ = ("_continuation", "cuts", "error", "outcome", "request")

    def __init__(self, request: UpstreamRequest, error: GatewayError) -> None:
        self.request = request
        self.error = error
        self.cuts = 0
        """How many replicas have died."""
        self.outcome: Outcome = "aborted"
        """How it ends, as far as is known; the client may leave meanwhile."""
        self._continuation: Continuation | None = None

    def __repr__(self) -> str:
        return f"<Recovery [{self.cuts} cuts; {self.outcome}]>"

    def marked(self, last: bytes) -> bytes:
        """Put a comment before the end marker, which is the last event: the stream was recovered from so many cuts."""
        at = last.rfind(b"\n\n", 0, -2)
        end = at + 2 if at >= 0 else 0
        return b"%b: headgate recovered %d\n\n%b" % (last[:end], self.cuts, last[end:])

    def go_on_with(self, continuation: Continuation) -> UpstreamRequest:
        """Give the request that another replica is asked; its events are rewritten from now on."""
        self._continuation = continuation
        return msgspec.structs.replace(self.request, body=continuation.body)

    def rewrite(self, events: bytes) -> bytes:
        """Give events of a continuation as further events of the stream."""
        return events if self._continuation is None else self._continuation.rewrite(events)
