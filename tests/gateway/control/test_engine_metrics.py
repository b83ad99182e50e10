"""The metrics of engines are relayed with the replica that they are from, and one that fails takes none with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from gateway.control.engine_metrics import EngineMetrics, read_engine_metrics
from gateway.pools.pool import Pool
from gateway.pools.replica import ReplicaState
from loadtest.simulator import SimulatedEngine
from tests.gateway.pools.made import pool
from tests.kit.gateways import gateway, remote

RUNNING = "# HELP vllm:running Requests.\n# TYPE vllm:running gauge\nvllm:running{%s} %d.0\n"


@asynccontextmanager
async def engine_with(path: Path, metrics: bytes) -> AsyncIterator[str]:
    """Run an engine with these metrics and nothing else; give its address."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=metrics)

    application = web.Application()
    application.add_routes([web.get("/metrics", answer), web.get("/health", answer)])
    runner = web.AppRunner(application)
    await runner.setup()
    await web.UnixSite(runner, path).start()
    try:
        yield f"unix:{path}"
    finally:
        await runner.cleanup()


def values(text: str, name: str) -> dict[str, float]:
    return {
        sample.labels["replica"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def test_labels_that_an_engine_has_already_are_called_as_prometheus_calls_them() -> None:
    metrics = EngineMetrics()
    metrics.add("m", "m-0", RUNNING % ('model="x",engine="0"', 3))
    (running, up) = metrics.collect()
    assert running.samples[0].labels == {"model": "m", "replica": "m-0", "exported_model": "x", "engine": "0"}
    assert up.samples[0].value == 1
    assert repr(metrics) == "<EngineMetrics of 1 engines [1 families]>"


def test_engines_with_the_same_family_share_it() -> None:
    metrics = EngineMetrics()
    for number in range(2):
        metrics.add("m", f"m-{number}", RUNNING % ("", number))
    running, _ = metrics.collect()
    assert [(sample.labels["replica"], sample.value) for sample in running.samples] == [("m-0", 0.0), ("m-1", 1.0)]


def test_a_family_that_is_called_as_ours_is_left_out() -> None:
    metrics = EngineMetrics()
    ours = '# TYPE headgate_engine_metrics_up gauge\nheadgate_engine_metrics_up{model="x",replica="x-0"} 0\n'
    metrics.add("m", "m-0", ours + RUNNING % ("", 3))
    running, up = metrics.collect()
    assert [sample.value for sample in running.samples] == [3.0]
    assert [(sample.labels["replica"], sample.value) for sample in up.samples] == [("m-0", 1.0)]


async def test_each_engine_is_asked_at_its_socket_and_what_fails_is_said(tmp_path: Path) -> None:
    async with (
        SimulatedEngine("m", uds=tmp_path / "a") as first,
        engine_with(tmp_path / "b", b"no metrics {{{") as broken,
        gateway({"m": remote(first.address, broken, "http://127.0.0.1:1")}, ready=[]) as running,
    ):
        (made,) = running.gateway.pools
        for replica in made.replicas:
            replica.set_state(ReplicaState.READY)
        async with aiohttp.ClientSession() as http:
            everything = await (await http.get(f"{running.control}/metrics/engines")).text()
            one = await (await http.get(f"{running.control}/metrics/engines?replica=m-0")).text()
            unknown = await http.get(f"{running.control}/metrics/engines?replica=m-7")
    assert values(everything, "headgate_engine_metrics_up") == {"m-0": 1.0, "m-1": 0.0, "m-2": 0.0}
    assert values(everything, "vllm:num_requests_running") == {"m-0": 0.0}
    assert values(one, "headgate_engine_metrics_up") == {"m-0": 1.0}
    assert unknown.status == 404


async def test_an_engine_that_says_too_much_is_left_out(tmp_path: Path) -> None:
    flood = b"# " + b"x" * 9_000_000 + b"\n"
    async with engine_with(tmp_path / "a", flood) as address:
        assert values(await read(address), "headgate_engine_metrics_up") == {"m-0": 0.0}


async def read(address: str) -> str:
    async with gateway({"m": remote(address)}, ready=[]) as running:
        (made,) = running.gateway.pools
        made.replicas[0].set_state(ReplicaState.READY)
        async with asyncio.timeout(20):
            return (await read_engine_metrics([made], None)).decode()


async def test_without_replicas_there_is_nothing_to_relay() -> None:
    empty: Pool = pool("m")
    assert values((await read_engine_metrics([empty], None)).decode(), "headgate_engine_metrics_up") == {}
