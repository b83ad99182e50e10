"""A request of the gateway's own: it goes through the application like any client's, and is awaited.

Admission, policies, retries, metrics, the access log and abort apply to it as to a request from a socket.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import perf_counter

from gateway.core.context import RequestContext
from gateway.core.errors import GatewayError
from gateway.http.application import Application


@dataclass(frozen=True, slots=True)
class InternalResponse:
    """A whole response: its status and its body; a stream's events are joined."""

    status: int
    body: bytes


class InternalCall:
    """The downstream of one internal request: collects the response."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._pieces: list[bytes] = []
        self._done: asyncio.Future[InternalResponse] = asyncio.get_running_loop().create_future()

    def __repr__(self) -> str:
        return f"<InternalCall [{'done' if self._done.done() else 'waiting'}]>"

    async def ask(self, context: RequestContext) -> InternalResponse:
        """Ask, and wait for the whole response; to be cancelled is to leave, which stops the engine.

        The context's head must be as the application would have admitted it. An error response is returned like any
        other: its status says so.
        """
        try:
            in_flight = self._application.answer(context, self)
        except GatewayError as error:
            self.write_error(context, error)
            self.finished(context, perf_counter())
            return await self._done
        try:
            return await self._done
        except asyncio.CancelledError:
            if in_flight is not None:
                in_flight.client_left("client_left")
            raise

    # what the answering side calls

    def write_response(
        self,
        context: RequestContext,
        now: float,  # noqa: ARG002 - nobody is told how long it took
        status: int,
        headers: bytes,  # noqa: ARG002 - the body is what is asked for
        body: bytes,
        length: int | None,  # noqa: ARG002 - all of it is collected
    ) -> None:
        """Take a whole response, or its beginning."""
        context.status = status
        self._pieces.append(body)

    def write_own(self, context: RequestContext, status: int, headers: bytes, body: bytes) -> None:
        """Take a whole response that the gateway itself gives."""
        self.write_response(context, perf_counter(), status, headers, body, len(body))

    def write_error(self, context: RequestContext, error: GatewayError) -> None:
        """Take an error as the whole response."""
        context.error = error
        self.write_own(context, error.status, b"", self._application.refused(context, error))

    def begin_stream(
        self, context: RequestContext, status: int, headers: bytes, length: int | None = None, first: bytes = b""
    ) -> None:
        """Take the beginning of a response in pieces."""
        self.write_response(context, perf_counter(), status, headers, first, length)

    def write_raw(self, data: bytes, /) -> None:
        """Take a piece of a body of known length; chunks with framing are never passed to what speaks no HTTP/1.1."""
        self._pieces.append(data)

    def write_chunk(self, context: RequestContext, data: bytes) -> None:  # noqa: ARG002 - there is one only
        """Take a piece of a body without known length."""
        self._pieces.append(data)

    def end_stream(self, context: RequestContext, last: bytes = b"") -> None:  # noqa: ARG002 - there is one only
        """Take the last piece."""
        self._pieces.append(last)

    def cut(self) -> None:
        """Lose what has come: a body that is not whole is no response."""
        self._pieces.clear()

    def finished(self, context: RequestContext, now: float) -> None:
        """Account for the request, and give its response to who waits."""
        self._application.ended(context, now)
        if not self._done.done():
            self._done.set_result(InternalResponse(context.status, b"".join(self._pieces)))
