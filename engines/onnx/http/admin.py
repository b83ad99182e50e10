"""Loading and unloading over HTTP, in the shape of the model repository extension of KServe and Triton.

``POST /v2/repository/index``, ``/v2/repository/models/NAME/load`` and ``/v2/repository/models/NAME/unload``. The paths
are on the engine's own socket only: the gateway passes nothing that is not in its table of routes.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from aiohttp import web

from engines.onnx.errors import BadRequest, ModelError
from engines.onnx.options import check_labels
from engines.onnx.protocol.decoding import decode
from engines.onnx.serving.repository import Repository


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a load or an unload may say; what is left out stays as it is with the model that is served now."""

    version: str | None = None
    keep: bool = False
    task: str | None = None
    labels: str | None = None
    max_length: Annotated[int, msgspec.Meta(gt=0)] | None = None
    truncate: bool | None = None


class Asked(msgspec.Struct, frozen=True):
    """The body of a load or an unload, which may be empty."""

    parameters: Parameters = Parameters()


class Admin:
    """The three routes."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def routes(self) -> list[web.RouteDef]:
        """Give them for an application."""
        return [
            web.post("/v2/repository/index", self._index),
            web.post("/v2/repository/models/{name}/load", self._load),
            web.post("/v2/repository/models/{name}/unload", self._unload),
        ]

    async def _index(self, _: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(self._repository.index()), content_type="application/json")

    async def _load(self, request: web.Request) -> web.Response:
        asked = (await _asked(request)).parameters
        changes: dict[str, Any] = {}
        if asked.task is not None:
            changes["task"] = asked.task
        if asked.labels is not None:
            changes["labels"] = _labels(asked.labels)
        if asked.max_length is not None:
            changes["max_length"] = asked.max_length
        if asked.truncate is not None:
            changes["truncate"] = asked.truncate
        name = request.match_info["name"]
        try:
            await self._repository.load(name, asked.version, keep=asked.keep, **changes)
        except ModelError as error:
            raise BadRequest(f"{name} was not loaded, and what was served before still is: {error}") from error
        return web.Response()

    async def _unload(self, request: web.Request) -> web.Response:
        self._repository.unload(request.match_info["name"], (await _asked(request)).parameters.version)
        return web.Response()


def _labels(given: str) -> tuple[str, ...]:
    labels = tuple(label.strip() for label in given.split(","))
    try:
        check_labels(labels)
    except ValueError as error:
        raise BadRequest(str(error), param="parameters.labels") from None
    return labels


async def _asked(request: web.Request) -> Asked:
    body = await request.read()
    return decode(body, Asked) if body else Asked()
