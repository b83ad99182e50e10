"""Each command is carried out on the gateway's own loop, and answered with what came of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.control.commands import Commands
from gateway.control.plane import ControlPlane
from gateway.core.errors import BadRequest
from gateway.observe.counters import Counters
from gateway.observe.exposition import Exposition
from gateway.pools.registry import Registry
from gateway.reload.reloader import ReloadOutcome
from tests.gateway.control.served import Plane, view_of
from tests.kit.wire import Response, Wire

SCALE = "/models/org/m/scale"
ADAPTER = {"name": "org/sql", "base": "m", "source": "/s"}


class Gateway:
    """Carries out what is asked for what is called m, refuses all else, and knows which thread asked for it."""

    def __init__(self) -> None:
        self.done: list[tuple[str, ...]] = []
        self.threads: set[threading.Thread] = set()
        self.problems: tuple[str, ...] = ()

    def commands(self) -> Commands:
        return Commands(
            asyncio.get_running_loop(),
            reload=self._reload,
            drain_replica=lambda name: self._known("drain", name),
            scale_model=self._scale,
            load_adapter=self._load,
            unload_adapter=self._unload,
            reset_key=lambda name: self._known("reset key", name),
            reset_group=lambda name: self._known("reset group", name),
        )

    def _note(self, *what: str) -> None:
        self.threads.add(threading.current_thread())
        self.done.append(what)

    def _known(self, what: str, name: str) -> bool:
        self._note(what, name)
        return name == "m"

    def _reload(self) -> ReloadOutcome:
        self._note("reload")
        return ReloadOutcome(self.problems)

    def _scale(self, name: str, replicas: int | None) -> None:
        self._note("scale", name, str(replicas))
        if replicas == 0:
            raise BadRequest("It would have none.", code="no_replica")

    async def _load(self, name: str, base: str, folder: str) -> None:
        self._note("load", name, base, folder)
        if base != "m":
            raise BadRequest("It does not fit.", code="adapter_refused")

    async def _unload(self, name: str) -> None:
        self._note("unload", name)
        if name != "org/sql":
            raise BadRequest("It is not loaded.")


class Operator:
    """A gateway, and who gives it commands."""

    def __init__(self, port: int, gateway: Gateway) -> None:
        self._address = f"http://127.0.0.1:{port}"
        self.gateway = gateway

    async def asks(self, method: str, path: str, body: Any = None) -> Response:
        async with await Wire.connect_to(self._address) as wire:
            await wire.request(method, path, body)
            return await wire.response()


@asynccontextmanager
async def operated() -> AsyncIterator[Operator]:
    gateway = Gateway()
    metrics = Exposition(Counters, lambda: Registry([]), "1.2", "abc")
    plane = ControlPlane("127.0.0.1", 0, view_of(Plane()), metrics, gateway.commands())
    plane.start()
    try:
        yield Operator(plane.port, gateway)
    finally:
        plane.stop()


@pytest.mark.parametrize(
    ("method", "path", "body", "answer", "done"),
    [
        ("POST", "/reload", None, {"status": "reloaded", "problems": []}, ("reload",)),
        ("POST", "/replicas/m/drain", None, {"status": "draining"}, ("drain", "m")),
        ("POST", SCALE, {"replicas": 2}, {"status": "scaled", "scaling": None}, ("scale", "org/m", "2")),
        ("POST", SCALE, {"replicas": None}, {"status": "scaled", "scaling": None}, ("scale", "org/m", "None")),
        ("POST", "/adapters", ADAPTER, {"status": "loaded"}, ("load", "org/sql", "m", "/s")),
        ("DELETE", "/adapters/org/sql", None, {"status": "unloaded"}, ("unload", "org/sql")),
        ("POST", "/keys/m/reset", None, {"status": "reset"}, ("reset key", "m")),
        ("POST", "/groups/m/reset", None, {"status": "reset"}, ("reset group", "m")),
    ],
)
async def test_a_command_is_carried_out_on_the_gateways_own_loop(
    method: str, path: str, body: Any, answer: Any, done: tuple[str, ...]
) -> None:
    async with operated() as operator:
        response = await operator.asks(method, path, body)
        assert (response.status, response.json) == (200, answer)
        assert operator.gateway.done == [done]
        assert operator.gateway.threads == {threading.current_thread()}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "answer"),
    [
        (
            "POST",
            "/replicas/org/n-0/drain",
            None,
            404,
            {"status": "unknown", "reason": "there is no replica 'org/n-0'"},
        ),
        ("POST", SCALE, {"replicas": 0}, 400, {"status": "not scaled", "reason": "It would have none."}),
        ("POST", "/adapters", ADAPTER | {"base": "n"}, 400, {"status": "not loaded", "reason": "It does not fit."}),
        ("DELETE", "/adapters/sql", None, 400, {"status": "not unloaded", "reason": "It is not loaded."}),
        ("POST", "/keys/n/reset", None, 404, {"status": "unknown", "reason": "there is no key 'n'"}),
        ("POST", "/groups/n/reset", None, 404, {"status": "unknown", "reason": "there is no group 'n'"}),
    ],
)
async def test_a_command_that_is_refused_says_why(
    method: str, path: str, body: Any, status: int, answer: dict[str, str]
) -> None:
    async with operated() as operator:
        response = await operator.asks(method, path, body)
        assert (response.status, response.json | answer) == (status, response.json)


async def test_a_reload_that_fails_names_each_problem() -> None:
    async with operated() as operator:
        operator.gateway.problems = ("models.toml:3: nonsense", "models.toml:4: more of it")
        response = await operator.asks("POST", "/reload")
    assert response.status == 422
    assert response.json == {"status": "not reloaded", "problems": list(operator.gateway.problems)}


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        (SCALE, {"replicas": 65}, "Expected `int` <= 64 - at `$.replicas`"),
        ("/adapters", {"name": "sql"}, "Object missing required field `base`"),
    ],
)
async def test_a_body_that_is_no_order_is_told_and_nothing_is_done(path: str, body: Any, reason: str) -> None:
    async with operated() as operator:
        response = await operator.asks("POST", path, body)
        assert (response.status, response.json["reason"]) == (400, reason)
        assert operator.gateway.done == []
