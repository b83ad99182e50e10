"""A request's body as a stream: it is read as it arrives, so that no more than a part of it is ever in memory."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from enum import Enum, auto
from time import perf_counter
from typing import Protocol

from gateway.core.context import BodyLimit
from gateway.core.errors import BodyTooLarge, GatewayError

HIGH_WATER = 1024 * 1024
"""Bytes that may wait for the reader; beyond them, reading from the client pauses until they are taken."""


class BodyFlow(Protocol):
    """The connection that a body comes on."""

    def request_body(self) -> None:
        """Let the client send the body, if it waits to be told so (RFC 9110, section 10.1.1)."""

    def pause_body(self) -> None:
        """Read no more from the client."""

    def resume_body(self) -> None:
        """Read on."""


class BodyState(Enum):
    """How far a body has come."""

    EXPECTED = auto()
    """The client holds it back until it is told to go on, which it is when the reader asks for the first bytes."""
    ARRIVING = auto()
    """It arrives."""
    PAUSED = auto()
    """Reading from the client has paused, because the reader is behind."""
    WHOLE = auto()
    """All of it has come."""
    CUT = auto()
    """The rest of it will never come."""


# perf: enum members, see docs/python-idioms.md.
EXPECTED, ARRIVING, PAUSED, WHOLE, CUT = BodyState


class BodyStream:
    """The body of one request, between the parser that receives it and the one reader that it is for.

    What waits for the reader is bounded by ``HIGH_WATER`` and one read of the socket. A body that ends too early ends
    for the reader with the error that the client gets.
    """

    __slots__ = ("_error", "_flow", "_limit", "_pieces", "_received", "_silent_since", "_state", "_waiting", "_woken")

    def __init__(self, limit: BodyLimit, flow: BodyFlow, *, expected: bool = False) -> None:
        self._limit = limit
        self._flow = flow
        self._state = EXPECTED if expected else ARRIVING
        self._pieces: list[bytes] = []
        self._waiting = 0
        self._received = 0
        self._error: GatewayError | None = None
        self._woken: asyncio.Future[None] | None = None
        self._silent_since = perf_counter()

    def __repr__(self) -> str:
        return f"<BodyStream [{self._state.name.lower()}; {self._received} bytes, {self._waiting} waiting]>"

    # called by the parser

    def feed(self, data: bytes) -> None:
        """Take what has arrived. Raises ``BodyTooLarge``."""
        self._received += len(data)
        if self._received > self._limit.max_bytes:
            raise too_large(self._limit)
        self._silent_since = perf_counter()
        self._pieces.append(data)
        self._waiting += len(data)
        if self._state is EXPECTED:
            self._state = ARRIVING
        if self._waiting > HIGH_WATER and self._state is ARRIVING:
            self._state = PAUSED
            self._flow.pause_body()
        self._wake()

    def end(self) -> None:
        """Note that the body is whole."""
        self._resume(WHOLE)
        self._wake()

    def fail(self, error: GatewayError) -> None:
        """Note that the rest will never come."""
        self._resume(CUT)
        self._error = error
        self._wake()

    def silent_for(self, now: float) -> float:
        """Tell for how many seconds the client has sent nothing, though it could; ``now`` is a ``perf_counter``."""
        return now - self._silent_since if self._state is ARRIVING else 0.0

    # called by the reader

    async def read(self) -> bytes:
        """Wait for bytes and return all there are; none at the end of the body.

        Raises the ``GatewayError`` that has ended a body too early.
        """
        if self._state is EXPECTED:
            self._state = ARRIVING
            self._silent_since = perf_counter()
            self._flow.request_body()
        while not self._pieces and self._state is ARRIVING:
            self._woken = asyncio.get_running_loop().create_future()
            await self._woken
        if self._error is not None:
            raise self._error
        data, self._waiting = b"".join(self._pieces), 0
        self._pieces.clear()
        if self._state is PAUSED:
            self._silent_since = perf_counter()
            self._resume(ARRIVING)
        return data

    async def discard(self) -> None:
        """Throw away what still comes, so that the client can read why its request is refused.

        A body that is held back is left alone: its client gets the refusal in the place of the word to go on.
        """
        if self._state is EXPECTED:
            return
        with suppress(GatewayError):
            while await self.read():
                pass

    # inside

    def _resume(self, state: BodyState) -> None:
        """Go over to another state, in which the client is read again."""
        paused = self._state is PAUSED
        self._state = state
        if paused:
            self._flow.resume_body()

    def _wake(self) -> None:
        woken, self._woken = self._woken, None
        if woken is not None and not woken.done():
            woken.set_result(None)


def too_large(limit: BodyLimit) -> BodyTooLarge:
    """Give the error for a body beyond its limit."""
    return BodyTooLarge(f"The body is over {limit.max_bytes} bytes ({limit.option}).")
