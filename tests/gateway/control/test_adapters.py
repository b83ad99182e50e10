"""Operators list, load and unload adapters at the control port."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loadtest.simulator import SimulatedEngine
from tests.engines.tiny_adapter import write_adapter
from tests.kit.gateways import RunningGateway, gateway, remote
from tests.kit.wire import Response, Wire


async def control(running: RunningGateway, method: str, path: str, body: Any = None) -> Response:
    async with await Wire.connect_to(running.control) as wire:
        await wire.request(method, path, body)
        return await wire.response()


async def test_an_adapter_is_loaded_shown_and_unloaded(tmp_path: Path) -> None:
    sql = str(write_adapter(tmp_path / "sql"))
    async with (
        SimulatedEngine("m", uds=tmp_path / "a", lora=True) as engine,
        gateway({"m": remote(engine.address, adapters={})}) as running,
    ):
        order = {"name": "org/sql", "base": "m", "source": sql}
        done = await control(running, "POST", "/adapters", order)
        assert (done.status, done.json) == (200, {"status": "loaded"})
        replica = {"name": "m-0", "state": "loaded", "reason": ""}
        shown = {"name": "org/sql", "base": "m", "source": sql, "replicas": [replica]}
        assert (await control(running, "GET", "/adapters")).json == {"adapters": [shown]}
        done = await control(running, "DELETE", "/adapters/org/sql")
        assert (done.status, done.json) == (200, {"status": "unloaded"})
        assert (await control(running, "GET", "/adapters")).json == {"adapters": []}


async def test_orders_that_cannot_be_obeyed_say_why(tmp_path: Path) -> None:
    async with (
        SimulatedEngine("m", uds=tmp_path / "a", lora=True) as engine,
        gateway({"m": remote(engine.address)}) as running,
    ):
        refused = await control(running, "POST", "/adapters", {"name": "sql", "base": "m", "source": "/s"})
        assert (refused.status, refused.json["code"]) == (400, "adapters_not_enabled")
        unclear = await control(running, "POST", "/adapters", {"name": "sql"})
        assert (unclear.status, unclear.json["reason"]) == (400, "Object missing required field `base`")
        unknown = await control(running, "DELETE", "/adapters/sql")
        assert (unknown.status, unknown.json["reason"]) == (404, "There is no adapter 'sql'.")
