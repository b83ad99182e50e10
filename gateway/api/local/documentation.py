"""The API's own description: ``/openapi.json`` for programs and ``/docs`` for people."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from gateway.api.local.route import GatewayInfo, LocalRequest, LocalResponse, LocalRoute
from gateway.api.openapi.document import ServedRoute, document
from gateway.api.openapi.page import page

_HTML = (
    b"content-type: text/html; charset=utf-8\r\n"
    b"content-security-policy: default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'\r\n"
)


class Documentation:
    """Describes what is served; written when it is first asked for, and kept."""

    def __init__(self, served: Callable[[], list[ServedRoute]]) -> None:
        self._served = served
        self._written: tuple[bytes, bytes] | None = None

    def __repr__(self) -> str:
        return f"<Documentation {'written' if self._written else 'not asked for yet'}>"

    @property
    def routes(self) -> dict[tuple[str, str], LocalRoute]:
        """Give its own rows of the route table. Like vLLM's they need no key: they name no model."""
        return {
            ("GET", "/openapi.json"): LocalRoute(self._openapi, guarded=False),
            ("GET", "/docs"): LocalRoute(self._docs, guarded=False),
        }

    async def _openapi(self, info: GatewayInfo, _request: LocalRequest) -> LocalResponse:
        return LocalResponse((await self._pages(info.version))[0])

    async def _docs(self, info: GatewayInfo, _request: LocalRequest) -> LocalResponse:
        return LocalResponse((await self._pages(info.version))[1], headers=_HTML)

    async def _pages(self, version: str) -> tuple[bytes, bytes]:
        if self._written is None:
            # Some twenty milliseconds, for which no token should wait.
            self._written = await asyncio.to_thread(self._write, version)
        return self._written

    def _write(self, version: str) -> tuple[bytes, bytes]:
        described = document(self._served(), version)
        return msgspec.json.encode(described), page(described).encode()
