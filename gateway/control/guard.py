"""Refuses at the control port whoever may not give commands or see the page, and notes the commands that were given."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.control.access import Access, Asker, Refusal

Noted = Callable[[str, str], None]
"""Called with a command that was carried out, as its method and path, and with who gave it."""


class Guard:
    """An aiohttp middleware for all paths. Those below ``shown`` need not be commands to need a trusted host."""

    def __init__(self, access: Access, shown: str, noted: Noted) -> None:
        self._access = access
        self._shown = shown
        self._noted = noted

    def __repr__(self) -> str:
        return f"<Guard of {self._shown} and all commands>"

    def middleware(self) -> Middleware:
        """Give the middleware."""

        @web.middleware
        async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
            asker = _asker_of(request)
            shown = request.path.startswith(self._shown)
            refusal = self._access.refuses_page(asker) if shown else self._access.refuses_command(asker)
            if refusal is not None:
                return _response(refusal)
            response = await handler(request)
            if not shown and not asker.is_safe and response.status < 400:
                self._noted(f"{asker.method} {request.path}", f"asked for by {_name(asker)}")
            return response

        return guarded


def _asker_of(request: web.Request) -> Asker:
    headers = {name.lower(): value for name, value in request.headers.items()}
    return Asker(request.method, headers, request.remote or "")


def _response(refusal: Refusal) -> web.Response:
    headers = {"www-authenticate": 'Bearer realm="headgate control"'} if refusal.status == 401 else {}
    body = {"status": "refused", "code": refusal.code, "reason": refusal.reason}
    return web.json_response(body, status=refusal.status, headers=headers)


def _name(asker: Asker) -> str:
    return f"the page at {asker.peer}" if asker.is_browser else asker.peer
