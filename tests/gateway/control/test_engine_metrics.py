"""The metrics of engines are relayed with the replica that they are from, and one that fails takes none with it."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gateway.control import engine_metrics
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

    async with engine_that(path, answer) as address:
        yield address


@asynccontextmanager
async def engine_that(path: Path, answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """Run an engine that answers a scrape so, and is healthy; give its address."""

    async def healthy(_request: web.Request) -> web.Response:
        return web.Response()

    application = web.Application()
    application.add_routes([web.get("/metrics", answer), web.get("/health", healthy)])
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
        (made,) = running.gateway.plane.registry.pools
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


async def test_an_engine_that_says_too_much_is_left_out_before_it_has_said_all(tmp_path: Path) -> None:
    sent = 0

    async def flood(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        line = b'vllm:running{engine="0"} 1.0\n' * 4096
        while sent < 50_000_000:
            await response.write(line)
            sent += len(line)
        return response

    async with engine_that(tmp_path / "a", flood) as address:
        assert values(await read(address), "headgate_engine_metrics_up") == {"m-0": 0.0}
    assert 2_000_000 < sent < 10_000_000


async def test_an_engine_that_compresses_unasked_is_left_out(tmp_path: Path) -> None:
    async def compressed(_request: web.Request) -> web.Response:
        bomb = gzip.compress(b'a{b="c"} 1\n' * 1_000_000)
        return web.Response(body=bomb, headers={"content-encoding": "gzip"})

    async with engine_that(tmp_path / "a", compressed) as address:
        text = await read(address)
    assert values(text, "headgate_engine_metrics_up") == {"m-0": 0.0}
    assert len(text) < 1000


@pytest.mark.parametrize(
    "broken",
    ["{{{", 'a{="1"} 1', 'a{,"} 1', "a one", 'a{b="c} 1', "\x00" * 40, "# TYPE a strange\na 1", "<html>No</html>"],
)
async def test_metrics_that_are_none_take_those_of_no_other_engine_with_them(tmp_path: Path, broken: str) -> None:
    metrics = EngineMetrics()
    metrics.add("m", "m-0", broken)
    metrics.add("m", "m-1", RUNNING % ("", 1))
    text = generate_latest(metrics).decode()
    assert values(text, "headgate_engine_metrics_up") == {"m-0": 0.0, "m-1": 1.0}
    assert values(text, "vllm:running") == {"m-1": 1.0}


@pytest.mark.parametrize("time", ["1700000000000", "inf", "9" * 30, "-1"])
def test_a_time_that_an_engine_gives_is_left_out(time: str) -> None:
    metrics = EngineMetrics()
    metrics.add("m", "m-0", f"a 1 {time}\n")
    assert b'a{model="m",replica="m-0"} 1.0\n' in generate_latest(metrics)


async def test_probes_are_answered_while_much_is_parsed(tmp_path: Path) -> None:
    """The parser is halted by the test, so that this depends on no clock."""
    halted, go_on = threading.Event(), threading.Event()

    def parse(text: str) -> list[Metric]:
        halted.set()
        assert go_on.wait(30)
        return []

    async with engine_with(tmp_path / "a", b"a 1\n") as address, gateway({"m": remote(address)}) as running:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(engine_metrics, "text_string_to_metric_families", parse)
            async with aiohttp.ClientSession() as http:
                scrape = asyncio.create_task(http.get(f"{running.control}/metrics/engines"))
                assert await asyncio.to_thread(halted.wait, 30)
                assert (await http.get(f"{running.control}/livez")).status == 200
                go_on.set()
                assert (await scrape).status == 200


async def read(address: str) -> str:
    async with gateway({"m": remote(address)}, ready=[]) as running:
        (made,) = running.gateway.plane.registry.pools
        made.replicas[0].set_state(ReplicaState.READY)
        async with asyncio.timeout(20):
            return (await read_engine_metrics([made], None)).decode()


async def test_without_replicas_there_is_nothing_to_relay() -> None:
    empty: Pool = pool("m")
    assert values((await read_engine_metrics([empty], None)).decode(), "headgate_engine_metrics_up") == {}
