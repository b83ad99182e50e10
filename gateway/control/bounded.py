"""Keeps a client that does not read its responses from holding anything of the control port for long."""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware


class Bounded:
    """An aiohttp middleware that sends each response within ``seconds`` or cuts the connection.

    Of requests whose paths begin with ``prefix``, ``at_once`` are worked on at most; the next gets a 503.
    Probes and scrapes are not among them, so that no crowd before the page makes a gateway look dead.
    """

    def __init__(self, seconds: float, at_once: int, prefix: str) -> None:
        self._seconds = seconds
        self._at_once = at_once
        self._prefix = prefix
        self._here = 0

    def __repr__(self) -> str:
        return f"<Bounded [{self._here} of {self._at_once}]>"

    def middleware(self) -> Middleware:
        """Give the middleware, which wants to be the outermost one."""

        @web.middleware
        async def bounded(request: web.Request, handler: Handler) -> web.StreamResponse:
            if not request.path.startswith(self._prefix):
                return await self._answer(request, handler)
            if self._here >= self._at_once:
                busy = {"status": "busy", "reason": f"{self._at_once} requests of this page are under way"}
                return web.json_response(busy, status=503, headers={"retry-after": "1"})
            self._here += 1
            try:
                return await self._answer(request, handler)
            finally:
                self._here -= 1

        return bounded

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        transport = request.transport
        if transport is not None:
            # A response has been sent when the system has taken all of it, and not when it is held here.
            transport.set_write_buffer_limits(0)
        try:
            response = await handler(request)
        except web.HTTPException as error:
            response = error
        try:
            async with asyncio.timeout(self._seconds):
                await response.prepare(request)
                await response.write_eof()
        except TimeoutError:
            if transport is not None:
                transport.abort()
        except ConnectionError:
            # The client left in the middle of its response, as a scraper that waits no longer does: nothing to tell.
            pass
        return response
