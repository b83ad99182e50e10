"""What the gateway answers by itself, as a client sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from loadtest.simulator import SimulatedEngine
from tests.kit.gateways import RunningGateway, gateway, remote
from tests.kit.wire import Response


@asynccontextmanager
async def two_models(tmp_path: Path, **settings: Any) -> AsyncIterator[RunningGateway]:
    """``m``, also called ``alias`` and ``org/m``, and ``down``, which cannot answer."""
    async with SimulatedEngine("m", uds=tmp_path / "a", max_model_len=4096) as engine:
        models = {
            "m": remote(engine.address, aliases=["alias", "org/m"]),
            "down": remote(f"unix:{tmp_path}/nobody"),
        }
        async with gateway(models, ready=["m"], **settings) as running:
            yield running


async def get(running: RunningGateway, path: str, method: str = "GET", **headers: str) -> Response:
    async with await running.wire() as wire:
        await wire.request(method, path, headers=headers)
        return await wire.response(to_head=method == "HEAD")


async def test_the_models_that_can_answer_are_listed_with_their_other_names(tmp_path: Path) -> None:
    async with two_models(tmp_path) as running:
        listed = (await get(running, "/v1/models")).json
        assert listed["object"] == "list"
        assert {card["id"]: card["root"] for card in listed["data"]} == {"m": "m", "alias": "m", "org/m": "m"}
        assert listed["data"][0] | {"created": 0} == {
            "id": "m",
            "object": "model",
            "created": 0,
            "owned_by": "headgate",
            "root": "m",
            "parent": None,
            "max_model_len": 4096,
        }


async def test_one_model_is_shown_under_each_of_its_names(tmp_path: Path) -> None:
    async with two_models(tmp_path) as running:
        for name, path in (("m", "m"), ("org/m", "org/m"), ("org/m", "org%2Fm")):
            assert (await get(running, f"/v1/models/{path}")).json["id"] == name
        for path in ("down", "nobody"):
            missing = await get(running, f"/v1/models/{path}")
            assert (missing.status, missing.json["error"]["code"]) == (404, "model_not_found")


async def test_health_ping_and_version_need_no_key(tmp_path: Path) -> None:
    keys = [{"id": "a", "sha256": sha256(b"sk-a").hexdigest()}]
    async with two_models(tmp_path, keys=keys) as running:
        for path in ("/health", "/ping"):
            healthy = await get(running, path)
            assert (healthy.status, healthy.body) == (200, b"")
        assert (await get(running, "/ping", "POST")).status == 200
        assert (await get(running, "/version")).json.keys() == {"version"}
        assert (await get(running, "/v1/models")).status == 401


async def test_a_key_sees_the_models_that_it_may_use(tmp_path: Path) -> None:
    keys = [
        {"id": "a", "sha256": sha256(b"sk-a").hexdigest(), "models": ["m"]},
        {"id": "b", "sha256": sha256(b"sk-b").hexdigest(), "models": ["down"]},
    ]
    async with two_models(tmp_path, keys=keys) as running:
        assert (await get(running, "/v1/models", authorization="Bearer sk-b")).json["data"] == []
        assert (await get(running, "/v1/models/m", authorization="Bearer sk-b")).status == 404


async def test_a_key_that_deletes_learns_nothing_of_models_that_it_may_not_use(tmp_path: Path) -> None:
    keys = [{"id": "a", "sha256": sha256(b"sk-a").hexdigest(), "models": ["m"], "tune": True}]
    async with two_models(tmp_path, keys=keys, tuning={"folder": str(tmp_path / "tuning")}) as running:
        for name, status in (("m", 400), ("alias", 400), ("down", 404), ("nobody", 404)):
            refused = await get(running, f"/v1/models/{name}", "DELETE", authorization="Bearer sk-a")
            assert refused.status == status, name
