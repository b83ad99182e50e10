"""A route that the gateway answers by itself: what it is given, what it returns, and how it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

from gateway.core.context import RequestContext
from gateway.core.keys import Key
from gateway.http.downstream import Downstream
from gateway.http.request_parser import refusal
from gateway.pools.registry import Registry

JSON = b"content-type: application/json\r\n"


class GatewayInfo(Protocol):
    """What a local route may know of the gateway."""

    @property
    def registry(self) -> Registry:
        """The models in force."""

    @property
    def version(self) -> str:
        """The gateway's version."""

    @property
    def started_at(self) -> int:
        """When it started, in seconds since 1970."""

    @property
    def draining(self) -> bool:
        """Whether it is about to stop."""


@dataclass(frozen=True, slots=True)
class LocalRequest:
    """A request for a local route: its key, the value of its path's parameter, and its body."""

    key: Key
    parameter: str
    body: bytes


@dataclass(frozen=True, slots=True)
class LocalResponse:
    """A response of a local route; ``headers`` are whole lines."""

    body: bytes = b""
    headers: bytes = JSON
    status: int = 200


Answer = Callable[[GatewayInfo, LocalRequest], Awaitable[LocalResponse]]
"""A coroutine function that answers. It refuses by raising a ``GatewayError``."""


@dataclass(frozen=True, slots=True)
class LocalRoute:
    """Who answers, and whether a key is needed where there are keys."""

    answer: Answer
    guarded: bool = True


class LocalCall:
    """One request that a local route is answering, as a task that ends when the client leaves."""

    def __init__(
        self, route: LocalRoute, info: GatewayInfo, request: LocalRequest, context: RequestContext, client: Downstream
    ) -> None:
        self._context = context
        self._client = client
        self._task = asyncio.get_running_loop().create_task(self._run(route, info, request))

    def __repr__(self) -> str:
        return f"<LocalCall {self._context!r}>"

    def client_left(self, _reason: str) -> None:
        """Abort: nobody waits for the response any more."""
        self._context.status = 499
        self._task.cancel()

    def pause(self) -> None:
        """Produce nothing more: there is one piece only."""

    def resume(self) -> None:
        """Go on: there is one piece only."""

    async def _run(self, route: LocalRoute, info: GatewayInfo, request: LocalRequest) -> None:
        context, client = self._context, self._client
        try:
            response = await route.answer(info, request)
        except Exception as cause:  # noqa: BLE001 - a mistake of ours costs one request a response of 500, no more
            client.write_error(context, refusal(cause))
        else:
            client.write_own(context, response.status, response.headers, response.body)
        client.finished(context, perf_counter())
