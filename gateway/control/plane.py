"""An aiohttp application on its own thread, so that a scrape or a probe delays no token.

``/livez`` says whether the process and the data plane's loop live and never asks engines; ``/readyz`` whether every
required model can answer; ``/metrics`` is for Prometheus, and so is ``/metrics/engines``, which relays what the engines
measure; ``/status`` and ``/keys`` are for people, and so is the page at ``/``.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from time import monotonic, perf_counter
from typing import Any, Protocol

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder

from gateway.control.access import Access, new_token
from gateway.control.adapters import adapters_and_replicas
from gateway.control.bounded import Bounded
from gateway.control.commands import CommandRoutes, Commands
from gateway.control.engine_metrics import read_engine_metrics
from gateway.control.guard import Guard
from gateway.control.keys import keys_and_groups
from gateway.control.page.routes import PREFIX, SHOWN, Page
from gateway.control.view import GatewayView
from gateway.observe.counters import Counters
from gateway.pools.model import Model
from gateway.pools.pool import Pool

_STALE_SECONDS = 5.0
"""A data plane that has not ticked for this long is stuck."""

_SEND_SECONDS = 30.0
"""How long a client may take to read a response."""

_AT_ONCE = 64
"""Requests of the page that are worked on at the same time."""

_CLOSE_SECONDS = 1.0
"""How long the end waits for a client that does not read its response."""


class Metrics(Protocol):
    """What the gateway measures of itself."""

    def counters(self) -> Counters:
        """Give what was counted so far, as ``PlaneView.count`` has brought it up to date."""

    def pieces(self, *, openmetrics: bool = False) -> Iterator[bytes]:
        """Write it as Prometheus reads it, piece by piece."""


class ControlPlane:
    """The server and its thread. Without ``commands``, there are no paths for them.

    Those who show ``token`` may give commands from elsewhere and with the page; by default it is a new one.
    """

    def __init__(
        self,
        host: str,
        port: int,
        gateway: GatewayView,
        metrics: Metrics,
        commands: Commands | None = None,
        token: str | None = None,
    ) -> None:
        self._commands = None if commands is None else CommandRoutes(commands, self._scaling)
        self._host = host
        self._port = port
        self._gateway = gateway
        self._metrics = metrics
        self._page = Page(gateway, metrics.counters)
        self._guard = Guard(Access(token or new_token()), SHOWN, self._page.note_command)
        self._loop = asyncio.new_event_loop()
        self._runner: web.AppRunner | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="control-plane", daemon=True)

    def __repr__(self) -> str:
        return f"<ControlPlane http://{self._host}:{self._port}>"

    @property
    def port(self) -> int:
        """The port that it listens on; the real one, where 0 was asked for."""
        return self._port

    def start(self) -> None:
        """Listen. Raises ``OSError`` if that is not possible."""
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        except OSError:
            self.stop()
            raise

    def announce_api(self, address: str) -> None:
        """Say where clients ask from now on."""
        self._page.state.api = address

    def note_reload(self, problems: Sequence[str]) -> None:
        """Say how a reload of the configuration went, which the page shows; nothing is wrong if it is in force."""
        self._page.note_reload(problems)

    def note_scaling(self, model: str, what: str, reason: str) -> None:
        """Say that a model is to have another number of replicas, or what one waits for, which the page shows."""
        self._page.note_scaling(model, what, reason)

    def stop(self) -> None:
        """Close every connection and end the thread."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> None:
        bounded = Bounded(_SEND_SECONDS, _AT_ONCE, PREFIX)
        application = web.Application(middlewares=[bounded.middleware(), self._guard.middleware()])
        if self._commands is not None:
            application.add_routes(self._commands.routes())
        application.add_routes(
            [
                web.get("/livez", self._livez),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._expose),
                web.get("/metrics/engines", self._relay_engines),
                web.get("/status", self._status),
                web.get("/keys", self._keys),
                *self._page.routes(),
                web.get("/adapters", self._adapters),
            ]
        )
        # A playground's request ends when its page is closed; what has been begun on another loop goes on.
        self._runner = web.AppRunner(
            application, access_log=None, shutdown_timeout=_CLOSE_SECONDS, handler_cancellation=True
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()
        self._port = self._runner.addresses[0][1]
        await self._page.start()

    async def _close(self) -> None:
        await self._page.stop()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _livez(self, _request: web.Request) -> web.Response:
        silent = monotonic() - self._gateway.plane.last_tick
        if silent > _STALE_SECONDS:
            return web.json_response({"status": "stuck", "silent_seconds": round(silent, 1)}, status=503)
        return web.json_response({"status": "alive"})

    async def _readyz(self, _request: web.Request) -> web.Response:
        reasons = self._why_not_ready()
        status = {"status": "not ready" if reasons else "ready", "reasons": reasons}
        return web.json_response(status, status=503 if reasons else 200)

    async def _expose(self, request: web.Request) -> web.Response:
        await self._gateway.plane.count()
        _, media = choose_encoder(request.headers.get("accept", ""))
        pieces = self._metrics.pieces(openmetrics=media.startswith("application/openmetrics-text"))
        return web.Response(body=_one_by_one(pieces), headers={"content-type": media})

    async def _relay_engines(self, request: web.Request) -> web.Response:
        pools = self._gateway.plane.registry.pools
        replica = request.query.get("replica")
        if replica is not None and not any(each.name == replica for pool in pools for each in pool.replicas):
            raise web.HTTPNotFound(text=f"There is no replica {replica!r}; /status lists them.\n")
        text = await read_engine_metrics(pools, replica)
        return web.Response(body=text, headers={"content-type": CONTENT_TYPE_PLAIN_0_0_4})

    async def _status(self, _request: web.Request) -> web.Response:
        local, plane = self._gateway.local_models(), self._gateway.plane
        show = self._page.state.scaling
        models = [_status_of(model, show(local.get(model.name))) for model in plane.registry.models]
        processes = plane.processes
        each = {"processes": processes} if processes else {}
        return web.json_response({"draining": plane.draining, "models": models, **each})

    async def _keys(self, _request: web.Request) -> web.Response:
        return web.json_response(keys_and_groups(list(self._gateway.plane.keyring), perf_counter()))

    async def _adapters(self, _request: web.Request) -> web.Response:
        adapters = self._gateway.plane.registry.adapters
        return web.json_response(adapters_and_replicas(adapters, self._gateway.adapter_statuses))

    def _scaling(self, name: str) -> Mapping[str, Any] | None:
        return self._page.state.scaling(self._gateway.local_models().get(name))

    def _why_not_ready(self) -> list[str]:
        plane = self._gateway.plane
        reasons = ["the gateway is shutting down"] if plane.draining else []
        reasons += plane.troubles
        missing = [model for model in plane.registry.models if model.required and not model.pool.on_call]
        return reasons + [model.pool.not_ready(model.name).message for model in missing]


async def _one_by_one(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Send each piece of a long body before the next is made: to send it at once would hold the data plane up."""
    for piece in pieces:
        yield piece


def _status_of(model: Model, scaling: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Show a model with its pool; what models that share a pool have in common is shown with each of them."""
    pool = model.pool
    load = pool.load(perf_counter())
    return {
        "model": model.name,
        "pool": pool.name,
        "running": load.running,
        "waiting": load.waiting,
        "limit": pool.admission.limit,
        **_discovery_of(pool),
        **({} if scaling is None else {"scaling": scaling}),
        "replicas": [
            {
                "name": replica.name,
                "address": replica.address.url,
                "state": replica.state,
                "ready": replica.ready,
                "in_flight": replica.in_flight,
                "weight": replica.weight,
                "reason": replica.reason,
            }
            for replica in pool.replicas
        ],
    }


def _discovery_of(pool: Pool) -> Mapping[str, Any]:
    """Show the source of a pool's replicas, where they are not only those of the configuration."""
    discovered = pool.discovered
    if discovered is None:
        return {}
    shown = {
        "source": discovered.source,
        "addresses": list(discovered.urls),
        "age_seconds": round(discovered.age(), 1),
        "errors": discovered.errors,
        "trouble": discovered.trouble,
    }
    return {"discovery": shown}
