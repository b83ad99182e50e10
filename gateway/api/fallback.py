"""Asks another model where the one that was named has no capacity, has failed, or has too short a context."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from time import perf_counter

from gateway.core.context import RequestContext
from gateway.core.errors import GatewayError, GatewayOverloaded, ShuttingDown
from gateway.exchange.exchange import Exchange
from gateway.http.downstream import Downstream
from gateway.pools.model import Model

_HEADER = b"x-headgate-fallback: %b\r\n"
"""Says in the response which model it is from, where that is not the one that was named."""

Begin = Callable[[Model, Downstream], Exchange]
"""Asks a model, and gives its response to a downstream. Raises ``GatewayError``."""


def may_fall_back(error: GatewayError) -> bool:
    """Whether another model may answer what one has failed to: it is not the request that is wrong."""
    if isinstance(error, (ShuttingDown, GatewayOverloaded)):
        return False
    return error.status >= 500 or error.status == 429 or error.code == "context_length_exceeded"


class Fallback:
    """Asks models one after the other, as long as none has begun to respond.

    It is the client of each exchange, and what the client's connection knows as the request under way. Only an error as
    the whole response is held back; everything else goes straight to the client, without a call in between.
    """

    __slots__ = (
        "_asked",
        "_begin",
        "_beginning",
        "_client",
        "_context",
        "_error",
        "_exchange",
        "_fell_back",
        "_headers",
        "_models",
        "_paused",
        "begin_stream",
        "cut",
        "end_stream",
        "write_chunk",
        "write_own",
        "write_raw",
        "write_response",
    )

    def __init__(
        self,
        client: Downstream,
        context: RequestContext,
        models: Iterable[Model],
        begin: Begin,
        fell_back: Callable[[Model, Model], None],
    ) -> None:
        self._client = client
        self._context = context
        self._models = deque(models)
        self._begin = begin
        self._fell_back = fell_back
        self._headers = context.response_headers
        self._asked: Model | None = None
        self._exchange: Exchange | None = None
        self._error: GatewayError | None = None
        """What the model that was asked last has failed with, as long as nobody was told."""
        self._beginning = False
        self._paused = False
        self.write_response = client.write_response
        self.write_own = client.write_own
        self.begin_stream = client.begin_stream
        self.write_raw = client.write_raw
        self.write_chunk = client.write_chunk
        self.end_stream = client.end_stream
        self.cut = client.cut

    def __repr__(self) -> str:
        return f"<Fallback [{len(self._models)} more models] {self._exchange!r}>"

    def start(self) -> None:
        """Ask the first model that can be asked. Raises the ``GatewayError`` of the last one if none can."""
        error = self._ask_next()
        if error is not None:
            raise error

    # called by the client's connection

    def client_left(self, reason: str) -> None:
        """Abort: nobody waits for the response any more."""
        if self._exchange is not None:
            self._exchange.client_left(reason)

    def pause(self) -> None:
        """Produce nothing more until ``resume``."""
        self._paused = True
        if self._exchange is not None:
            self._exchange.pause()

    def resume(self) -> None:
        """Go on."""
        self._paused = False
        if self._exchange is not None:
            self._exchange.resume()

    # called by the exchange

    def write_error(self, context: RequestContext, error: GatewayError) -> None:
        """Keep an error back that another model may not have; it is followed by ``finished``."""
        if self._models and may_fall_back(error):
            self._error = error
        else:
            self._client.write_error(context, error)

    def finished(self, context: RequestContext, now: float) -> None:
        """Ask the next model if this one has failed, else pass on that the response is over."""
        if self._error is None:
            self._client.finished(context, now)
        elif not self._beginning:
            self._error = None
            error = self._ask_next()
            if error is not None:
                self._client.write_error(context, error)
                self._client.finished(context, perf_counter())

    # inside

    def _ask_next(self) -> GatewayError | None:
        """Ask the next model, and further ones while they fail at once; return why the last one did."""
        error: GatewayError | None = None
        while self._models:
            before, self._asked = self._asked, self._models.popleft()
            if before is not None:
                self._context.error = None
                self._context.response_headers = self._headers + _HEADER % self._asked.name.encode()
                self._fell_back(before, self._asked)
            error = self._ask(self._asked)
            if error is None or not may_fall_back(error):
                break
        return error

    def _ask(self, model: Model) -> GatewayError | None:
        """Ask a model; return the error that it has failed with at once."""
        self._beginning = True
        try:
            self._exchange = self._begin(model, self)
        except GatewayError as error:
            return error
        finally:
            self._beginning = False
        if self._paused:
            self._exchange.pause()
        failed, self._error = self._error, None
        return failed
