"""What follows a failed attempt: pure functions, so that every retry rule is read and tested in one place."""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import NamedTuple

from gateway.core.errors import GatewayError, Retry
from gateway.http.response_head import ResponseHead

MAX_ATTEMPTS = 3
"""Replicas asked for one request at most; more would turn one bad request into a bad pool."""

FULL = frozenset({429, 503, 529})
"""Statuses by which an engine says that it takes no more for now, which is no failure of it."""

_VARYING = re.compile(r"0x[0-9a-f]+|\d+")
"""What differs between two messages of one kind: numbers, addresses and ids."""


class Next(Enum):
    """What an exchange does after one of its attempts has failed."""

    RECONNECT = auto()
    """Ask the same replica on a new connection."""
    WAIT = auto()
    """Leave it to the other attempt that is under way."""
    RETRY = auto()
    """Ask a replica that has not been asked yet."""
    HOLD = auto()
    """Wait in the queue for a replica that may come back."""
    OVER_BUDGET = auto()
    """Tell the client: another replica might do better, but the pool has used up its retries."""
    FAIL = auto()
    """Tell the client."""


class Failure(NamedTuple):
    """How one attempt has failed.

    ``reached``: the replica may have begun to work on the request. ``lost``: it said nothing at all, so it may be gone.
    """

    error: GatewayError
    reached: bool
    lost: bool = False

    @classmethod
    def told_by(cls, error: GatewayError) -> Failure:
        """Make one of an engine's error response; an engine that is full has not begun to work on the request."""
        return cls(error, reached=error.status not in FULL)

    @property
    def full(self) -> bool:
        """Whether the engine takes no more for now. To ask another costs no work, so no budget limits it."""
        return self.error.status in FULL and not self.reached

    @classmethod
    def not_loaded(cls, error: GatewayError) -> Failure:
        """Make one of an engine's 404 for a LoRA adapter that it has lost, as one does that was started anew."""
        error.retry = Retry.YES
        return cls(error, reached=False)

    def may_be_retried(self, *, idempotent: bool) -> bool:
        """Whether another replica may do better, and asking it cannot do anything twice (RFC 9110, section 9.2.2)."""
        return self.error.retry is Retry.YES and (idempotent or not self.reached)

    def has_cause_of(self, other: Failure) -> bool:
        """Whether both replicas may have failed because of the request itself: with one status and kind of message."""
        return self.reached and other.reached and _kind(self.error) == _kind(other.error)


def decide(
    *,
    asked: int,
    stale: bool = False,
    retry: bool = False,
    others: bool = False,
    rival: bool = False,
    repeated: bool = False,
    affordable: bool = True,
    returns: bool = False,
) -> Next:
    """Decide what follows a failed attempt.

    ``asked``: how many replicas have failed. ``stale``: the engine closed an idle connection while the request was on
    its way, which says nothing about the replica. ``retry``: another replica may do better, and may be asked.
    ``others``: there are ready replicas that have not been asked. ``rival``: a hedged attempt at another replica is
    under way. ``repeated``: two replicas have failed alike, so the request may be what kills them. ``affordable``: the
    pool's retry budget allows one more. ``returns``: no replica is left, but one may come back for which requests are
    held.
    """
    if stale and asked < MAX_ATTEMPTS:
        return Next.RECONNECT
    if rival:
        return Next.WAIT
    if retry and others and not repeated and asked < MAX_ATTEMPTS:
        return Next.RETRY if affordable else Next.OVER_BUDGET
    if retry and returns and not repeated:
        return Next.HOLD
    return Next.FAIL


def says_no_more_than_try_elsewhere(head: ResponseHead) -> bool:
    """Whether a response is no response to the request but says that this replica has none."""
    return head.status >= 500 or head.status == 429


def _kind(error: GatewayError) -> tuple[int, str | None, str]:
    return error.status, error.code, _VARYING.sub("", error.message.lower())
