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

from engines.onnx.batcher import Batcher
from engines.onnx.endpoints import Endpoint, Plan
from engines.onnx.errors import BadRequest, ModelNotFound, RequestError, error_body
from engines.onnx.metrics import Metrics
from engines.onnx.model import Model
from engines.onnx.protocol import (
    DetokenizeAnswer,
    DetokenizeRequest,
    ModelCard,
    ModelList,
    ModelPermission,
    TextRequest,
    TokenizeAnswer,
    TokenizeRequest,
    decode,
)

MAX_BODY_BYTES = 32 * 1024 * 1024

_SMALL_BYTES = 4096
"""Tokenizing this much takes less time than going to another thread and back."""

_SMALL_ROWS = 16
"""Encoding the answer of so few texts, likewise."""

_CLIENT_LEFT = 499

_TIMEOUT = "x-request-timeout-ms"
_LONGEST_TIMEOUT = 86_400_000

_log = logging.getLogger(__name__)

Answer = TypeVar("Answer")
Route = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Answers requests for one model."""

    def __init__(self, model: Model, batcher: Batcher, metrics: Metrics, *, threads: int) -> None:
        self._model = model
        self._batcher = batcher
        self._metrics = metrics
        self._aside = ThreadPoolExecutor(threads, thread_name_prefix="text")
        self._created = int(time.time())
        metrics.watch("waiting_tokens", "Tokens that wait for a thread.", lambda: batcher.waiting_tokens)
        metrics.watch("waiting_texts", "Texts that wait for a thread.", lambda: batcher.waiting_texts)
        metrics.watch("batch_token_budget", "Most tokens of a batch, as measured.", lambda: model.budget.tokens)
        metrics.watch("running_batches", "Batches that run now.", lambda: batcher.running)

    def application(self, max_body_bytes: int = MAX_BODY_BYTES) -> web.Application:
        """Build the aiohttp application; run it with ``handler_cancellation`` so that clients who leave are noticed."""
        app = web.Application(middlewares=[self._answer_errors], client_max_size=max_body_bytes)
        app.add_routes(
            [
                *(web.post(path, self._infer) for path in self._model.endpoints),
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
        self._batcher.check_room(within=within)
        endpoint = self._model.endpoints[request.path]
        asked, plan = await self._off_loop(len(body) > _SMALL_BYTES, lambda: self._plan(endpoint, body))
        rows = await self._batcher.submit(plan.texts, within)
        name = _request_id(request) or asked.request_id or uuid.uuid4().hex
        answer = await self._off_loop(len(rows) > _SMALL_ROWS, lambda: msgspec.json.encode(plan.answer(rows, name)))
        return web.Response(body=answer, content_type="application/json")

    def _plan(self, endpoint: Endpoint[Any], body: bytes) -> tuple[TextRequest, Plan]:
        asked: TextRequest = decode(body, endpoint.request_type)
        self._check_model(asked.model)
        if asked.normalize is not msgspec.UNSET:
            raise BadRequest("Parameter `normalize` was removed; use `use_activation` instead.", param="normalize")
        return asked, endpoint.plan(asked)

    async def _tokenize(self, request: web.Request) -> web.Response:
        body = await _json_body(request)

        def answer() -> TokenizeAnswer:
            asked = decode(body, TokenizeRequest)
            self._check_model(asked.model)
            ids, strings = self._model.tokenizer.tokenize(asked)
            limit = self._model.tokenizer.max_length
            return TokenizeAnswer(len(ids), limit, ids, strings if asked.return_token_strs else None)

        return _json(await self._off_loop(len(body) > _SMALL_BYTES, answer))

    async def _detokenize(self, request: web.Request) -> web.Response:
        body = await _json_body(request)

        def answer() -> DetokenizeAnswer:
            asked = decode(body, DetokenizeRequest)
            self._check_model(asked.model)
            return DetokenizeAnswer(self._model.tokenizer.detokenize(asked.tokens))

        return _json(await self._off_loop(len(body) > _SMALL_BYTES, answer))

    async def _models(self, _: web.Request) -> web.Response:
        name = self._model.name
        permission = ModelPermission(id=f"modelperm-{name}", created=self._created)
        card = ModelCard(name, self._created, name, self._model.tokenizer.max_length, [permission])
        return _json(ModelList([card]))

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _version(self, _: web.Request) -> web.Response:
        return _json({"version": onnxruntime.__version__})

    async def _expose(self, request: web.Request) -> web.Response:
        body, content_type = self._metrics.exposition(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    def _check_model(self, name: str | None) -> None:
        if name and name != self._model.name:
            message = f"The model `{name}` does not exist. Valid aliases: {self._model.name}."
            raise ModelNotFound(message, param="model")

    async def _off_loop(self, large: bool, work: Callable[[], Answer]) -> Answer:
        """Do work in a thread if it is large, and at once if it is not."""
        return await asyncio.get_running_loop().run_in_executor(self._aside, work) if large else work()

    @web.middleware
    async def _answer_errors(self, request: web.Request, handler: Route) -> web.StreamResponse:
        """Answer whatever goes wrong in vLLM's shape, and count every answer."""
        start, status = time.perf_counter(), _CLIENT_LEFT
        try:
            answer = await _answer(request, handler)
            status = answer.status
        finally:
            resource = request.match_info.route.resource
            endpoint = resource.canonical if resource else "unknown"
            self._metrics.answered(endpoint, status, time.perf_counter() - start)
        return answer

    async def _close(self, _: web.Application) -> None:
        self._aside.shutdown(wait=True, cancel_futures=True)
        self._batcher.close()


async def _answer(request: web.Request, route: Route) -> web.StreamResponse:
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
    except Exception:  # noqa: BLE001  # the boundary: whatever it is, the client gets an answer and the log the reason
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
