"""Passes what the playground asks on to the port of the API, so that the page needs no other origin than its own.

The API gives web pages of other origins nothing unless ``cors_origins`` names them, and the page works without that.
Only the body is passed on, and the API key that a person has typed: nobody gets here what they would not get there.
"""

from __future__ import annotations

import asyncio

import aiohttp
from aiohttp import web

from gateway.control.page.assets import HEADERS

PATHS = frozenset(
    {
        "v1/chat/completions",
        "v1/embeddings",
        "v1/moderations",
        "classify",
        "pooling",
    }
)
"""The endpoints of the API that the playground uses."""

MAX_BODY_BYTES = 1024 * 1024
"""More than this nobody types; it is what aiohttp takes of a body, too."""

_AT_ONCE = 8
"""Requests that are passed on at the same time."""

_STALLED_SECONDS = 30.0
"""How long the page may take nothing of a response."""

_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5.0)
"""The API has deadlines of its own for all but this."""


class Relay:
    """Passes requests on to the API, and its answers back as they come."""

    def __init__(self) -> None:
        self._here = 0

    def __repr__(self) -> str:
        return f"<Relay [{self._here} of {_AT_ONCE}]>"

    async def relay(self, request: web.Request, path: str, api: str | None) -> web.StreamResponse:
        """Ask the API at ``api`` for ``path``. A page that is closed ends its request, there too."""
        if path not in PATHS:
            return _refusal(404, f"the playground does not use /{path}")
        if api is None:
            return _refusal(503, "the gateway is still starting")
        if self._here >= _AT_ONCE:
            return _refusal(503, f"{_AT_ONCE} requests of the playground are under way")
        self._here += 1
        try:
            return await self._pass_on(request, f"{_reachable(api)}/{path}")
        except aiohttp.ClientError as error:
            return _refusal(502, f"the API did not answer: {error}")
        finally:
            self._here -= 1

    async def _pass_on(self, request: web.Request, url: str) -> web.StreamResponse:
        headers = {"content-type": "application/json", "user-agent": "headgate-page"}
        if key := request.headers.get("x-api-key"):
            headers["authorization"] = f"Bearer {key}"
        body = await request.read()
        # It is this gateway, found by its address: a certificate for its public name would not fit that.
        connector = aiohttp.TCPConnector(ssl=False)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT, auto_decompress=False) as http,
            http.post(url, data=body, headers=headers) as answer,
        ):
            response = web.StreamResponse(status=answer.status, headers=HEADERS)
            response.headers["content-type"] = answer.headers.get("content-type", "application/octet-stream")
            if request_id := answer.headers.get("x-request-id"):
                response.headers["x-request-id"] = request_id
            await response.prepare(request)
            async for data in answer.content.iter_any():
                await _write(request, response, data)
            await response.write_eof()
            return response


async def _write(request: web.Request, response: web.StreamResponse, data: bytes) -> None:
    """Send a piece; a page that takes nothing for long is cut off, which ends its request."""
    try:
        async with asyncio.timeout(_STALLED_SECONDS):
            await response.write(data)
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise


def _refusal(status: int, reason: str) -> web.Response:
    return web.json_response({"status": "not asked", "reason": reason}, status=status, headers=HEADERS)


def _reachable(api: str) -> str:
    """Give an address of this machine where the API listens on all of them."""
    return api.replace("://0.0.0.0:", "://127.0.0.1:").replace("://[::]:", "://[::1]:")
