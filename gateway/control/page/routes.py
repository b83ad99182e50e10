"""The paths of the page: its files, what it shows as JSON, and what its playground asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic, time

import msgspec
from aiohttp import web

from gateway.control.page.assets import HEADERS, Assets
from gateway.control.page.journal import Decision, Journal, Kind
from gateway.control.page.relay import Relay
from gateway.control.page.sampler import Sampler
from gateway.control.page.state import PageState
from gateway.control.view import GatewayView
from gateway.core.tasks import cancelled
from gateway.observe.counters import Counters

PREFIX = "/page/"
"""Where everything is that belongs to the page; the page itself is at ``/``."""

SHOWN = f"{PREFIX}api/"
"""Where the paths are that show something of the gateway, or ask it."""

_FRESH_SECONDS = 0.5
"""The overview is put together once in this time, however many look at it."""


class Page:
    """The page and what it knows. ``start`` and ``stop`` are awaited on the control plane's loop."""

    def __init__(self, gateway: GatewayView, counters: Callable[[], Counters]) -> None:
        self.journal = Journal()
        self._sampler = Sampler(gateway.plane, counters, self.journal)
        self.state = PageState(gateway, self._sampler, self.journal)
        self._assets = Assets()
        self._relay = Relay()
        self._overview = b""
        self._overview_at = 0.0
        self._sampling: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Page {self._sampler!r}>"

    def routes(self) -> Sequence[web.RouteDef]:
        """Give all paths."""
        return [
            web.get("/", self._index),
            web.get("/page/api/state", self._show_state),
            web.get("/page/api/model", self._show_model),
            web.post("/page/api/ask/{path:.+}", self._ask),
            web.post("/page/token", self._try_token),
            web.get("/page/{name}", self._file),
        ]

    async def start(self) -> None:
        """Begin to sample."""
        self._sampling = asyncio.get_running_loop().create_task(self._sampler.run())

    async def stop(self) -> None:
        """Sample no more."""
        if self._sampling is not None:
            await cancelled([self._sampling])

    def note_command(self, what: str, reason: str) -> None:
        """Write down that an operator's command was carried out."""
        self.journal.add(Decision(time(), Kind.COMMAND, what, reason=reason))

    def note_reload(self, problems: Sequence[str]) -> None:
        """Write down how a reload of the configuration went."""
        what = "not reloaded" if problems else "the configuration was reloaded"
        self.journal.add(Decision(time(), Kind.RELOAD, what, reason="\n".join(problems), bad=bool(problems)))

    def note_scaling(self, model: str, what: str, reason: str) -> None:
        """Write down that a model is to have another number of replicas, or what one waits for."""
        self.journal.add(Decision(time(), Kind.SCALING, what, model, reason=reason))

    async def _index(self, request: web.Request) -> web.Response:
        return self._assets.response("index.html", request)

    async def _file(self, request: web.Request) -> web.Response:
        return self._assets.response(request.match_info["name"], request)

    async def _show_state(self, _request: web.Request) -> web.Response:
        if monotonic() - self._overview_at > _FRESH_SECONDS:
            self._overview = msgspec.json.encode(self.state.overview())
            self._overview_at = monotonic()
        return _json(self._overview)

    async def _show_model(self, request: web.Request) -> web.Response:
        name = request.query.get("name", "")
        shown = self.state.model(name)
        if shown is None:
            reason = f"there is no model {name!r}" if name else "name=MODEL is missing"
            return _json(msgspec.json.encode({"status": "unknown", "reason": reason}), status=404)
        return _json(msgspec.json.encode(shown))

    async def _ask(self, request: web.Request) -> web.StreamResponse:
        return await self._relay.relay(request, request.match_info["path"], self.state.api)

    async def _try_token(self, _request: web.Request) -> web.Response:
        """Answer who has got past the guard: the token is right."""
        return _json(b'{"status":"accepted"}')


def _json(body: bytes, status: int = 200) -> web.Response:
    headers = {**HEADERS, "cache-control": "no-store"}
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)
