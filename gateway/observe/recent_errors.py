"""The latest requests that have failed, in memory: what an operator wants to see before reading the access log."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from time import time

import msgspec

from gateway.core.context import RequestContext
from gateway.core.errors import GatewayError

KEPT = 50
"""Errors that are kept of each kind: those of clients (4xx) cannot push out those of engines (5xx)."""

_LONGEST = 300
"""Characters of a message that are kept."""


class RequestError(msgspec.Struct, frozen=True, gc=False):
    """One failed request. ``at`` is a Unix time; ``code`` and ``message`` are what the client was told, cut short."""

    at: float
    request_id: str
    model: str
    replica: str
    endpoint: str
    status: int
    code: str | None
    message: str


class RecentErrors:
    """Keeps the latest errors of clients, and those of engines and the gateway."""

    def __init__(self) -> None:
        self._by_clients: deque[RequestError] = deque(maxlen=KEPT)
        self._others: deque[RequestError] = deque(maxlen=KEPT)

    def __repr__(self) -> str:
        return f"<RecentErrors [{len(self._by_clients)} of clients, {len(self._others)} others]>"

    def add(self, context: RequestContext, error: GatewayError) -> None:
        """Keep an error that has just ended a request."""
        self._kept_with(context.status).append(
            RequestError(
                time(),
                context.request_id,
                context.model,
                context.replica,
                context.head.endpoint,
                context.status,
                error.code,
                error.message[:_LONGEST],
            )
        )

    def latest(self) -> list[RequestError]:
        """Give all errors, the oldest first."""
        return sorted([*self._by_clients.copy(), *self._others.copy()], key=_moment)

    def merge(self, errors: Iterable[RequestError]) -> None:
        """Keep those of another process too, and of all the latest."""
        for each in sorted([*self._take(), *errors], key=_moment):
            self._kept_with(each.status).append(each)

    def _take(self) -> list[RequestError]:
        errors = self.latest()
        self._by_clients.clear()
        self._others.clear()
        return errors

    def _kept_with(self, status: int) -> deque[RequestError]:
        return self._by_clients if 400 <= status < 500 else self._others


def _moment(error: RequestError) -> float:
    return error.at
