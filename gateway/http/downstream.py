"""Whoever gets a response: a client's socket, an internal caller, or a recorder.

An exchange knows its client by these few methods alone, so that what is not a socket can ask engines too.
"""

from __future__ import annotations

from typing import Protocol

from gateway.core.context import RequestContext
from gateway.core.errors import GatewayError


class Downstream(Protocol):
    """Takes one response at a time: whole, as an error, or begun, continued and ended; then ``finished`` is called."""

    def write_response(
        self, context: RequestContext, now: float, status: int, headers: bytes, body: bytes, length: int | None
    ) -> None:
        """Take a whole response, or its beginning: as much of the body as there is.

        ``now`` is a ``perf_counter`` reading; ``headers`` are whole lines; ``length`` is that of the whole body in
        bytes, ``None`` if that is not known.
        """

    def write_own(self, context: RequestContext, status: int, headers: bytes, body: bytes) -> None:
        """Take a whole response that the gateway itself gives."""

    def write_error(self, context: RequestContext, error: GatewayError) -> None:
        """Take an error as the whole response."""

    def begin_stream(
        self, context: RequestContext, status: int, headers: bytes, length: int | None = None, first: bytes = b""
    ) -> None:
        """Take the head of a response whose body follows in pieces: of known ``length`` in bytes, or chunked.

        ``first`` is the first piece, where it is there already.
        """

    def write_raw(self, data: bytes, /) -> None:
        """Take bytes as they are: a piece of a body of known length, or a chunk with its framing."""

    def write_chunk(self, context: RequestContext, data: bytes) -> None:
        """Take a piece of a body without known length."""

    def end_stream(self, context: RequestContext, last: bytes = b"") -> None:
        """Take the end of a body without known length, and its ``last`` piece if there is one."""

    def cut(self) -> None:
        """Break the connection: the only honest end of a response that has begun and cannot be finished."""

    def finished(self, context: RequestContext, now: float) -> None:
        """Take note that the response is over; ``now`` is a ``perf_counter`` reading."""
