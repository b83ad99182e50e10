"""A route that the gateway answers by itself: what it is given, what it returns, and how it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

from gateway.batches.store import BatchStore
from gateway.core.context import BodyLimit, BodyReader, RequestContext, RequestHead
from gateway.core.errors import GatewayError
from gateway.core.keys import Key
from gateway.core.tasks import cancelled
from gateway.exchange.dispatcher import shutting_down
from gateway.files.store import FileStore
from gateway.http.downstream import Downstream
from gateway.http.request_head import date_line
from gateway.http.request_parser import refusal
from gateway.pools.registry import Registry
from gateway.tuning.client import TuningClient

JSON = b"content-type: application/json\r\n"


class Metrics(Protocol):
    """What the gateway measures of itself."""

    def text(self, *, openmetrics: bool = False) -> bytes:
        """Write it as Prometheus reads it."""


class GatewayInfo(Protocol):
    """What a local route may know of the gateway."""

    @property
    def registry(self) -> Registry:
        """The models in force."""

    @property
    def files(self) -> FileStore:
        """The files that clients have uploaded."""

    @property
    def tuning(self) -> TuningClient | None:
        """The tuning server; ``None`` where this is no whole gateway."""

    @property
    def batches(self) -> BatchStore:
        """The batches of clients."""

    @property
    def version(self) -> str:
        """The gateway's version."""

    @property
    def started_at(self) -> int:
        """When it started, in seconds since 1970."""

    @property
    def draining(self) -> bool:
        """Whether it is about to stop."""

    @property
    def metrics(self) -> Metrics | None:
        """What it measures, if clients may read that."""


@dataclass(frozen=True, slots=True)
class LocalRequest:
    """A request for a local route: its head, the value of its path's parameter, and its body.

    The body is a ``stream`` where the route says so, and else ``body``.
    """

    head: RequestHead
    parameter: str
    body: bytes
    stream: BodyReader | None = None

    @property
    def key(self) -> Key:
        """Whose request it is."""
        return self.head.key


@dataclass(frozen=True, slots=True)
class LocalResponse:
    """A response of a local route; ``headers`` are whole lines."""

    body: bytes = b""
    headers: bytes = JSON
    status: int = 200


class BodySource(Protocol):
    """A response's body that is produced as the client takes it."""

    @property
    def length(self) -> int:
        """The length of the whole body in bytes."""

    async def read(self) -> bytes:
        """Return the next piece; none at the end."""

    async def close(self) -> None:
        """Release what it holds; called once, however the response ends."""


@dataclass(frozen=True, slots=True)
class StreamedResponse:
    """A response of a local route whose body is never whole in memory; ``headers`` are whole lines."""

    source: BodySource
    headers: bytes
    status: int = 200


Answer = Callable[[GatewayInfo, LocalRequest], Awaitable[LocalResponse | StreamedResponse]]
"""A coroutine function that answers. It refuses by raising a ``GatewayError``."""


@dataclass(frozen=True, slots=True)
class LocalRoute:
    """Who answers, and whether a key is needed where there are keys.

    With a ``streamed`` limit the body is not collected: the coroutine begins with the head, and reads
    ``LocalRequest.stream`` as it arrives.
    """

    answer: Answer
    guarded: bool = True
    streamed: Callable[[GatewayInfo], BodyLimit] | None = None


class LocalCall:
    """One request that a local route is answering, as a task that ends when the client leaves."""

    def __init__(
        self, route: LocalRoute, info: GatewayInfo, request: LocalRequest, context: RequestContext, client: Downstream
    ) -> None:
        self._context = context
        self._client = client
        self._refusal: GatewayError | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self.task = asyncio.get_running_loop().create_task(self._run(route, info, request))

    def __repr__(self) -> str:
        return f"<LocalCall {self._context!r}>"

    def client_left(self, _reason: str) -> None:
        """Abort: nobody waits for the response any more."""
        self._context.status = 499
        self.task.cancel()

    def cancel(self, error: GatewayError) -> None:
        """Abort, and answer with this error if nothing has been answered yet."""
        self._refusal = error
        self.task.cancel()

    def pause(self) -> None:
        """Produce nothing more until ``resume``: the client does not keep up."""
        self._writable.clear()

    def resume(self) -> None:
        """Go on."""
        self._writable.set()

    async def _run(self, route: LocalRoute, info: GatewayInfo, request: LocalRequest) -> None:
        try:
            await self._respond(await route.answer(info, request))
        except asyncio.CancelledError:
            if self._refusal is None:
                raise
            self._refuse(self._refusal)
        except Exception as cause:  # noqa: BLE001 - a mistake of ours costs one request a response of 500, no more
            if request.stream is not None:
                await self._discard(request.stream)
            self._refuse(refusal(cause))
        self._client.finished(self._context, perf_counter())

    async def _discard(self, stream: BodyReader) -> None:
        """Take the rest of the body, unless the gateway cannot wait for it."""
        try:
            await stream.discard()
        except asyncio.CancelledError:
            if self._refusal is None:
                raise

    async def _respond(self, response: LocalResponse | StreamedResponse) -> None:
        context, client = self._context, self._client
        if isinstance(response, LocalResponse):
            client.write_own(context, response.status, response.headers, response.body)
            return
        source = response.source
        try:
            client.begin_stream(context, response.status, response.headers + date_line(), source.length)
            while context.head.method != b"HEAD" and (piece := await source.read()):
                client.write_raw(piece)
                await self._writable.wait()
        finally:
            await source.close()

    def _refuse(self, error: GatewayError) -> None:
        """Answer with an error; where a response has begun, break the connection."""
        if self._context.status:
            self._context.error = error
            self._client.cut()
        else:
            self._client.write_error(self._context, error)


class LocalCalls:
    """The requests that local routes are answering: each is one task, and all of them end with the gateway."""

    def __init__(self) -> None:
        self._calls: dict[asyncio.Task[None], LocalCall] = {}

    def __repr__(self) -> str:
        return f"<LocalCalls [{len(self._calls)}]>"

    def __len__(self) -> int:
        return len(self._calls)

    def begin(
        self, route: LocalRoute, info: GatewayInfo, request: LocalRequest, context: RequestContext, client: Downstream
    ) -> LocalCall:
        """Begin to answer a request."""
        call = LocalCall(route, info, request, context, client)
        self._calls[call.task] = call
        call.task.add_done_callback(self._ended)
        return call

    def cancel_all(self) -> None:
        """End whatever is still under way with an error."""
        for call in list(self._calls.values()):
            call.cancel(shutting_down())

    async def stop(self) -> None:
        """End whatever is still under way, and wait until it has released what it holds."""
        await cancelled(list(self._calls))

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._calls[task]
