"""The HTTP side: routes, limits, and errors in vLLM's shape.

What takes long, the tokenization and encoding of large requests, happens in threads of its own, so that the event loop
is always free for the next small one.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
import onnxruntime  # type: ignore[import-untyped]
from aiohttp import web

from engines.onnx.errors import BadRequest, RequestError, error_body
from engines.onnx.http.admin import Admin
from engines.onnx.http.key import require_key
from engines.onnx.model.endpoints.endpoint import Endpoint, Plan
from engines.onnx.model.endpoints.table import PATHS
from engines.onnx.protocol.decoding import decode
from engines.onnx.protocol.requests import DetokenizeRequest, TextRequest, TokenizeRequest
from engines.onnx.protocol.responses import (
    DetokenizeResponse,
    ModelCard,
    ModelList,
    ModelPermission,
    TokenizeResponse,
)
from engines.onnx.serving.metrics import Metrics
from engines.onnx.serving.repository import Repository, Served

MAX_BODY_BYTES = 32 * 1024 * 1024

_SMALL_BYTES = 4096
"""Tokenizing this much takes less time than going to another thread and back."""

_SMALL_NUMBERS = 6144
"""Encoding so few numbers, likewise: as many as the vectors of 16 texts have."""

_CLIENT_LEFT = 499

_TIMEOUT = "x-request-timeout-ms"
_LONGEST_TIMEOUT = 86_400_000

_METRICS = web.RequestKey("metrics", Metrics)
"""Under this key a request keeps the metrics of its model; without, it counts for the one of the command line."""

_log = logging.getLogger(__name__)

Result = TypeVar("Result")
Route = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Answers requests for the models of a repository; each keeps the version of its model that it began with."""

    def __init__(self, repository: Repository, metrics: Metrics, *, threads: int) -> None:
        self._repository = repository
        self._metrics = metrics
        self._aside = ThreadPoolExecutor(threads, thread_name_prefix="text")
        self._created = int(time.time())

    def application(self, max_body_bytes: int = MAX_BODY_BYTES, *, key: str = "") -> web.Application:
        """Build the aiohttp application; run it with ``handler_cancellation`` so that clients who leave are noticed.

        With a ``key``, only requests that carry it as bearer token are answered, and ``/health``.
        """
        guards = [require_key(key)] if key else []
        app = web.Application(middlewares=[self._error_responses, *guards], client_max_size=max_body_bytes)
        app.add_routes(
            [
                *(web.post(path, self._infer) for path in PATHS),
                *Admin(self._repository).routes(),
                web.post("/tokenize", self._tokenize),
                web.post("/detokenize", self._detokenize),
                web.get("/v1/models", self._models),
                web.get("/health", self._health),
                web.get("/ping", self._health),
                web.post("/ping", self._health),
                web.get("/version", self._version),
                web.get("/metrics", self._expose),
            ]
        )
        app.on_cleanup.append(self._close)
        return app

    async def _infer(self, request: web.Request) -> web.Response:
        body = await _json_body(request)
        within = _timeout(request)
        with (await self._found(body, request)).used() as served:
            endpoint = served.model.endpoints.get(request.path)
            if endpoint is None:
                raise web.HTTPNotFound
            served.batcher.check_room(within=within)
            asked, plan = await self._off_loop(len(body) > _SMALL_BYTES, lambda: _plan(served, endpoint, body))
            rows = await served.batcher.submit(plan.texts, within)
            name = _request_id(request) or asked.request_id or uuid.uuid4().hex
            large = sum(row.size for row in rows) > _SMALL_NUMBERS
            content = await self._off_loop(large, lambda: msgspec.json.encode(plan.respond(rows, name)))
        return web.Response(body=content, content_type="application/json")

    async def _tokenize(self, request: web.Request) -> web.Response:
        body = await _json_body(request)
        served = await self._found(body, request)

        def respond() -> TokenizeResponse:
            asked = decode(body, TokenizeRequest)
            served.check_name(asked.model)
            tokenizer = served.model.tokenizer
            ids, strings = tokenizer.tokenize(asked)
            return TokenizeResponse(len(ids), tokenizer.max_length, ids, strings if asked.return_token_strs else None)

        return _json(await self._off_loop(len(body) > _SMALL_BYTES, respond))

    async def _detokenize(self, request: web.Request) -> web.Response:
        body = await _json_body(request)
        served = await self._found(body, request)

        def respond() -> DetokenizeResponse:
            asked = decode(body, DetokenizeRequest)
            served.check_name(asked.model)
            return DetokenizeResponse(served.model.tokenizer.detokenize(asked.tokens))

        return _json(await self._off_loop(len(body) > _SMALL_BYTES, respond))

    async def _models(self, _: web.Request) -> web.Response:
        cards = []
        for name in self._repository.names:
            permission = ModelPermission(id=f"modelperm-{name}", created=self._created)
            limit = self._repository.find(name).model.tokenizer.max_length
            cards.append(ModelCard(name, self._created, name, limit, [permission]))
        return _json(ModelList(cards))

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(status=200 if self._repository.names else 503)

    async def _version(self, _: web.Request) -> web.Response:
        return _json({"version": onnxruntime.__version__})

    async def _expose(self, request: web.Request) -> web.Response:
        body, content_type = self._metrics.exposition(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _found(self, body: bytes, request: web.Request) -> Served:
        """Find the version that a body names; nothing is awaited after that, so that it is served still.

        While there is only one, the body is not read for that: the reader of all of it checks the name as well.
        """
        served = self._repository.only
        if served is None:
            name = await self._off_loop(len(body) > _SMALL_BYTES, lambda: decode(body, _Named).model)
            served = self._repository.find(name)
        request[_METRICS] = self._metrics.of(served.model.name)
        return served

    async def _off_loop(self, large: bool, work: Callable[[], Result]) -> Result:
        """Do work in a thread if it is large, and at once if it is not."""
        return await asyncio.get_running_loop().run_in_executor(self._aside, work) if large else work()

    @web.middleware
    async def _error_responses(self, request: web.Request, handler: Route) -> web.StreamResponse:
        """Turn errors into responses in vLLM's shape, and count every response."""
        start, status = time.perf_counter(), _CLIENT_LEFT
        try:
            response = await _respond(request, handler)
            status = response.status
        finally:
            resource = request.match_info.route.resource
            endpoint = resource.canonical if resource else "unknown"
            metrics = request.get(_METRICS, self._metrics)
            # The response leaves before it is counted.
            asyncio.get_running_loop().call_soon(metrics.responded, endpoint, status, time.perf_counter() - start)
        return response

    async def _close(self, _: web.Application) -> None:
        self._aside.shutdown(wait=True, cancel_futures=True)
        await self._repository.close()


class _Named(msgspec.Struct):
    """The one field that says whom a request is for."""

    model: str | None = None


def _plan(served: Served, endpoint: Endpoint[Any], body: bytes) -> tuple[TextRequest, Plan]:
    asked: TextRequest = decode(body, endpoint.request_type)
    served.check_name(asked.model)
    if asked.normalize is not msgspec.UNSET:
        raise BadRequest("Parameter `normalize` was removed; use `use_activation` instead.", param="normalize")
    return asked, endpoint.plan(asked)


async def _respond(request: web.Request, route: Route) -> web.StreamResponse:
    try:
        return await route(request)
    except RequestError as error:
        if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR and error.retry_after is None:
            _log.error("%s %s: %s", request.method, request.path, error)
        headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
        return web.Response(body=error.body(), status=error.status, content_type="application/json", headers=headers)
    except web.HTTPException as error:
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        message = (error.text or error.reason).removeprefix(f"{error.status}: ")
        body = error_body(message, HTTPStatus(error.status).phrase, error.status)
        return web.Response(body=body, status=error.status, content_type="application/json", headers=headers)
    except Exception:  # noqa: BLE001  # the boundary: the client gets a response and the log the reason
        _log.exception("%s %s", request.method, request.path)
        body = error_body("The engine failed on this request; its log says why.", "InternalServerError", 500)
        return web.Response(body=body, status=500, content_type="application/json")


def _request_id(request: web.Request) -> str:
    """Read the client's name for its request; aiohttp gives what is no UTF-8 as surrogates, which JSON cannot hold."""
    return request.headers.get("X-Request-Id", "").encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _timeout(request: web.Request) -> float | None:
    """Read how long the client waits, in seconds. Raises ``BadRequest``."""
    given = request.headers.get(_TIMEOUT)
    if given is None:
        return None
    if not (given.isascii() and given.isdecimal() and 0 < int(given) <= _LONGEST_TIMEOUT):
        raise BadRequest(f"{_TIMEOUT} must be a number of milliseconds from 1 to {_LONGEST_TIMEOUT}", param=_TIMEOUT)
    return int(given) / 1000


async def _json_body(request: web.Request) -> bytes:
    if request.content_type != "application/json":
        raise BadRequest("Unsupported Media Type: Only 'application/json' is allowed")
    return await request.read()


def _json(value: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
