"""A model has its names and its length; its pool may be that of others too."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack

from gateway.pools.model import Model
from tests.gateway.exchange.asking import CHAT, ask, said
from tests.gateway.pools.made import model, pool, replica
from tests.kit.eventually import eventually
from tests.kit.gateways import gateway, remote
from tests.kit.scripted import scripted_engine


def test_a_model_has_its_own_name_at_its_engines_unless_it_is_told_another() -> None:
    shared = pool("base", replica("a"))
    assert Model("base", shared, tasks=()).upstream_name == "base"
    adapter = Model("mine", shared, tasks=(), upstream_name="sql-lora")
    assert adapter.upstream_name == "sql-lora"
    assert repr(adapter) == f"<Model 'mine' as 'sql-lora' at {shared!r}>"


def test_a_length_that_is_new_is_told_once() -> None:
    told: list[tuple[str, int | None]] = []
    made = model("m")
    made.observe(lambda changed: told.append((changed.name, changed.max_model_len)))
    for length in (2048, 2048, 4096):
        made.set_max_model_len(length)
    assert told == [("m", 2048), ("m", 4096)]


async def test_two_models_at_one_engine_are_probed_once_and_share_its_limit() -> None:
    async with scripted_engine() as engine:
        at = remote(engine.url, max_in_flight=2, health_interval=3600.0)
        models = {"base": at, "adapter": at | {"upstream_model": "sql-lora"}}
        async with gateway(models) as running, AsyncExitStack() as stack:
            await running.gateway.fleet.settle()
            assert engine.probes == [b"/health", b"/v1/models"]
            engine.answer = [b"HTTP/1.1 200 OK\r\n", b"content-length: 0\r\n\r\n"]
            for name in ("base", "adapter", "adapter"):
                wire = await stack.enter_async_context(await running.wire())
                await wire.request("POST", CHAT, ask(model=name))
            await said(running, "2 in flight, 1 queued")
            await eventually(lambda: len(engine.bodies) == 2)
            assert sorted(json.loads(body)["model"] for body in engine.bodies) == ["base", "sql-lora"]
            metrics = await running.metrics()
            assert 'headgate_requests_running{model="base"} 2.0' in metrics
            assert 'headgate_requests_waiting{model="base"} 1.0' in metrics
            assert 'headgate_admissions_total{model="adapter",outcome="queued"} 1.0' in metrics
            await stack.aclose()
            await said(running, "0 in flight, 0 queued")
