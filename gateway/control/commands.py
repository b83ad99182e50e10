"""The commands that operators give at the control port, each carried out on the gateway's own loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import msgspec
from aiohttp import web

from gateway.control.adapters import AdapterOrder
from gateway.control.scaling import ScaleOrder
from gateway.core.errors import GatewayError

Result = TypeVar("Result")


class ReloadResult(Protocol):
    """How a reload went."""

    @property
    def problems(self) -> Sequence[str]:
        """What was wrong, in lines for people."""

    @property
    def successful(self) -> bool:
        """Whether the new configuration is in force."""


@dataclass(frozen=True, slots=True)
class Commands:
    """What the control plane may have the gateway do, each part given by who owns it and called on ``loop``."""

    loop: asyncio.AbstractEventLoop
    reload: Callable[[], ReloadResult]
    """Takes over what the configuration's files say now, or tells why not."""
    drain_replica: Callable[[str], bool]
    """Sends a replica nothing new; returns whether there is such a one."""
    scale_model: Callable[[str, int | None], None]
    """Fixes the number of a model's replicas, or no longer. Raises a ``GatewayError`` that says why not."""
    load_adapter: Callable[[str, str, str], Coroutine[Any, Any, None]]
    """Loads a LoRA adapter, of a name, a base and a folder. Raises a ``GatewayError`` that says why not."""
    unload_adapter: Callable[[str], Coroutine[Any, Any, None]]
    """Unloads a LoRA adapter. Raises a ``GatewayError`` that says why not."""
    reset_key: Callable[[str], bool]
    """Forgets what a key has used of its own limits; returns whether there is such a one."""
    reset_group: Callable[[str], bool]
    """Forgets what the keys of a group have used of its limits; returns whether there is such a one."""


class CommandRoutes:
    """The paths of the commands. ``scaling`` shows how a model is scaled, if it is."""

    def __init__(self, commands: Commands, scaling: Callable[[str], Mapping[str, Any] | None]) -> None:
        self._commands = commands
        self._scaling = scaling

    def __repr__(self) -> str:
        return f"<CommandRoutes {[route.path for route in self.routes()]}>"

    def routes(self) -> Sequence[web.RouteDef]:
        """Give all paths."""
        return [
            web.post("/reload", self._reload),
            web.post("/replicas/{name:.+}/drain", self._drain_replica),
            web.post("/models/{name:.+}/scale", self._scale_model),
            web.post("/adapters", self._load_adapter),
            web.delete("/adapters/{name:.+}", self._unload_adapter),
            web.post("/keys/{id}/reset", self._reset_key),
            web.post("/groups/{name}/reset", self._reset_group),
        ]

    async def _reload(self, _request: web.Request) -> web.Response:
        outcome = await self._on_main_loop(self._commands.reload)
        status = {"status": "reloaded" if outcome.successful else "not reloaded", "problems": list(outcome.problems)}
        return web.json_response(status, status=200 if outcome.successful else 422)

    async def _drain_replica(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if not await self._on_main_loop(lambda: self._commands.drain_replica(name)):
            return web.json_response({"status": "unknown", "reason": f"there is no replica {name!r}"}, status=404)
        return web.json_response({"status": "draining"})

    async def _scale_model(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        try:
            replicas = msgspec.json.decode(await request.read(), type=ScaleOrder).replicas
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return web.json_response({"status": "not scaled", "reason": str(error)}, status=400)
        try:
            await self._on_main_loop(lambda: self._commands.scale_model(name, replicas))
        except GatewayError as error:
            return web.json_response({"status": "not scaled", **_reason(error)}, status=error.status)
        return web.json_response({"status": "scaled", "scaling": self._scaling(name)})

    async def _load_adapter(self, request: web.Request) -> web.Response:
        try:
            asked = msgspec.json.decode(await request.read(), type=AdapterOrder)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return web.json_response({"status": "not loaded", "reason": str(error)}, status=400)
        try:
            await self._await_on_main_loop(self._commands.load_adapter(asked.name, asked.base, asked.source))
        except GatewayError as error:
            return web.json_response({"status": "not loaded", **_reason(error)}, status=error.status)
        return web.json_response({"status": "loaded"})

    async def _unload_adapter(self, request: web.Request) -> web.Response:
        try:
            await self._await_on_main_loop(self._commands.unload_adapter(request.match_info["name"]))
        except GatewayError as error:
            return web.json_response({"status": "not unloaded", **_reason(error)}, status=error.status)
        return web.json_response({"status": "unloaded"})

    async def _reset_key(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        if not await self._on_main_loop(lambda: self._commands.reset_key(name)):
            return web.json_response({"status": "unknown", "reason": f"there is no key {name!r}"}, status=404)
        return web.json_response({"status": "reset"})

    async def _reset_group(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if not await self._on_main_loop(lambda: self._commands.reset_group(name)):
            return web.json_response({"status": "unknown", "reason": f"there is no group {name!r}"}, status=404)
        return web.json_response({"status": "reset"})

    async def _on_main_loop(self, command: Callable[[], Result]) -> Result:
        """Have the gateway's own loop carry out a command, and wait for its result."""

        async def carry_out() -> Result:
            return command()

        return await self._await_on_main_loop(carry_out())

    async def _await_on_main_loop(self, command: Coroutine[Any, Any, Result]) -> Result:
        """Have the gateway's own loop carry out a command that may wait, and wait for its result."""
        carried_out = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(command, self._commands.loop))
        return await asyncio.shield(carried_out)


def _reason(error: GatewayError) -> Mapping[str, str | None]:
    return {"reason": error.message, "code": error.code}
