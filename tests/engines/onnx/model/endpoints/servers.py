"""A server for each tiny model, and what tests ask of it."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest

from engines.onnx.model.model import Model, load
from engines.onnx.model.moderation import Categories
from engines.onnx.model.tasks import TASKS
from tests.engines.onnx.running_server import Running, serving


class Servers:
    """A server for each tiny model, started when a test first asks for it."""

    def __init__(self, request: pytest.FixtureRequest, stack: AsyncExitStack) -> None:
        self._request = request
        self._stack = stack
        self._servers: dict[str, Running] = {}
        self._cutting: set[str] = set()

    def cut_by_default(self, model: str) -> None:
        """Let a model cut what is too long; to be called before it is asked anything."""
        self._cutting.add(model)

    async def ask(self, model: str, path: str, **fields: Any) -> Any:
        """Give the response's body, which must be a success."""
        return await self.ask_raw(model, path, fields)

    async def ask_raw(self, model: str, path: str, body: dict[str, Any] | bytes) -> Any:
        """Do the same with a body of any bytes."""
        response = await (await self._server(model)).ask("POST", path, body, x_request_id="r")
        assert response.status == 200, response.body
        return response.json

    async def refusal(self, model: str, path: str, **fields: Any) -> tuple[str, str | None]:
        """Give the message and the field of a 400."""
        return await self.refusal_raw(model, path, fields)

    async def refusal_raw(self, model: str, path: str, body: dict[str, Any] | bytes) -> tuple[str, str | None]:
        """Do the same with a body of any bytes."""
        response = await (await self._server(model)).ask("POST", path, body)
        assert response.status == 400, response.body
        return response.json["error"]["message"], response.json["error"]["param"]

    async def _server(self, model: str) -> Running:
        if model not in self._servers:
            loaded: Model = self._request.getfixturevalue(model)
            if model in self._cutting:
                loaded = cutting(loaded)
            self._servers[model] = await self._stack.enter_async_context(serving(loaded))
        return self._servers[model]


def cutting(model: Model) -> Model:
    """Load a model again so that it cuts what is too long, as with ``--truncate``."""
    task = next(name for name, kind in TASKS.items() if type(model.task) is kind)
    moderates = "/v1/moderations" in model.endpoints
    categories = Categories({"hate": ["bad"]}, 0.7) if moderates else None
    return load(model.name, model.file.parent, task, truncate=True, categories=categories)
