"""The tuning server's HTTP, for one gateway on a Unix socket: each request names the owner that it is for."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from engines.tuning.errors import TuningError
from engines.tuning.records import JobError, JobOrder, Known, Published
from engines.tuning.service import Service

_POLL_SECONDS = 20.0
"""How long the gateway's question for something to do stays open."""

Told = TypeVar("Told")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ModelName(msgspec.Struct, frozen=True):
    """The model that is to be deleted."""

    name: str


class Api:
    """Answers requests with what the ``service`` gives."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def __repr__(self) -> str:
        return f"<Api of {self._service!r}>"

    def application(self) -> web.Application:
        """Give the routes."""
        app = web.Application(middlewares=[_errors], client_max_size=32 * 1024 * 1024)
        app.add_routes(
            [
                web.get("/health", self._health),
                web.post("/jobs", self._create),
                web.get("/jobs", self._list),
                web.get("/jobs/{id:[^/]+}", self._show),
                web.get("/jobs/{id:[^/]+}/events", self._events),
                web.get("/jobs/{id:[^/]+}/checkpoints", self._checkpoints),
                web.post("/jobs/{id:[^/]+}/{action:pause|resume|cancel}", self._act),
                web.post("/models/delete", self._delete),
                web.get("/tasks", self._task),
                web.post("/counts", self._counts),
                web.post("/jobs/{id:[^/]+}/warmed_up", self._warmed_up),
                web.post("/jobs/{id:[^/]+}/published", self._published),
                web.post("/jobs/{id:[^/]+}/refused", self._refused),
                web.post("/jobs/{id:[^/]+}/withdrawn", self._withdrawn),
            ]
        )
        return app

    async def _health(self, _request: web.Request) -> web.Response:
        return web.Response()

    async def _create(self, request: web.Request) -> web.Response:
        return _json(await self._service.create(await _told(request, JobOrder)))

    async def _list(self, request: web.Request) -> web.Response:
        limit, after = _page(request)
        metadata = msgspec.json.decode(request.query.get("metadata", "{}"), type=dict[str, str])
        return _json(self._service.jobs(_owner(request), limit, after, metadata))

    async def _show(self, request: web.Request) -> web.Response:
        return _json(self._service.show(_owner(request), request.match_info["id"]))

    async def _events(self, request: web.Request) -> web.Response:
        return _json(self._service.events(_owner(request), request.match_info["id"], *_page(request)))

    async def _checkpoints(self, request: web.Request) -> web.Response:
        return _json(self._service.checkpoints(_owner(request), request.match_info["id"], *_page(request)))

    async def _act(self, request: web.Request) -> web.Response:
        owner, job_id = _owner(request), request.match_info["id"]
        match request.match_info["action"]:
            case "pause":
                return _json(self._service.pause(owner, job_id))
            case "resume":
                return _json(self._service.resume(owner, job_id))
            case _:
                return _json(self._service.cancel(owner, job_id))

    async def _delete(self, request: web.Request) -> web.Response:
        await self._service.delete_model(_owner(request), (await _told(request, ModelName)).name)
        return web.Response()

    async def _task(self, _request: web.Request) -> web.Response:
        return _json(await self._service.next_task(_POLL_SECONDS))

    async def _counts(self, request: web.Request) -> web.Response:
        return _json(await self._service.counts((await _told(request, Known)).counts, _POLL_SECONDS))

    async def _warmed_up(self, request: web.Request) -> web.Response:
        self._service.warmed_up(request.match_info["id"])
        return web.Response()

    async def _published(self, request: web.Request) -> web.Response:
        self._service.published(request.match_info["id"], (await _told(request, Published)).result_files)
        return web.Response()

    async def _refused(self, request: web.Request) -> web.Response:
        self._service.refused(request.match_info["id"], await _told(request, JobError))
        return web.Response()

    async def _withdrawn(self, request: web.Request) -> web.Response:
        self._service.withdrawn(request.match_info["id"])
        return web.Response()


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer what is refused, and what the disk refuses, in one shape."""
    try:
        return await handler(request)
    except TuningError as error:
        refused = error
    except (OSError, sqlite3.Error) as cause:
        refused = TuningError(507, "insufficient_storage", f"The tuning folder cannot be written: {cause}.")
    return web.Response(status=refused.status, body=refused.body(), content_type="application/json")


def _json(value: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


async def _told(request: web.Request, kind: type[Told]) -> Told:
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except msgspec.DecodeError as error:
        raise TuningError(400, "invalid_order", f"The body is not what was expected: {error}.") from None


def _owner(request: web.Request) -> str:
    return request.query.get("owner", "")


def _page(request: web.Request) -> tuple[int, str | None]:
    return int(request.query.get("limit", "20")), request.query.get("after")
