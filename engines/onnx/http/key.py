"""Answers only those who know the key, where the server listens on a network."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Middleware

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def require_key(key: str) -> Middleware:
    """Make a middleware that answers 401 to what does not carry ``Authorization: Bearer KEY``, except ``/health``."""
    expected = f"Bearer {key}".encode()

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("authorization", "").encode(errors="surrogateescape")
        if request.path != "/health" and not secrets.compare_digest(given, expected):
            raise web.HTTPUnauthorized(headers={"www-authenticate": "Bearer"})
        return await handler(request)

    return guard
