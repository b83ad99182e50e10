"""What follows a failed attempt: one pure function, so that every retry rule is read and tested in one place."""

from __future__ import annotations

from enum import Enum, auto

from gateway.http.response_head import ResponseHead

MAX_ATTEMPTS = 3
"""Replicas asked for one request at most; more would turn one bad request into a bad pool."""


class Next(Enum):
    """What an exchange does after one of its attempts has failed."""

    RECONNECT = auto()
    """Ask the same replica on a new connection."""
    WAIT = auto()
    """Leave it to the other attempt that is under way."""
    RETRY = auto()
    """Ask a replica that has not been asked yet."""
    FAIL = auto()
    """Tell the client."""


def decide(*, stale: bool, retry: bool, asked: int, others: bool, rival: bool) -> Next:
    """Decide what follows a failed attempt.

    ``stale``: the engine closed an idle connection while the request was on its way, which says nothing about the
    replica. ``retry``: another replica may do better, and nothing of a response has been relayed. ``asked``: how many
    replicas have failed. ``others``: there are ready replicas that have not been asked. ``rival``: a hedged attempt at
    another replica is under way.
    """
    if stale and asked < MAX_ATTEMPTS:
        return Next.RECONNECT
    if rival:
        return Next.WAIT
    if retry and others and asked < MAX_ATTEMPTS:
        return Next.RETRY
    return Next.FAIL


def says_no_more_than_try_elsewhere(head: ResponseHead) -> bool:
    """Whether a response is no response to the request but says that this replica has none."""
    return head.status >= 500 or head.status == 429
