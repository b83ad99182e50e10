"""The client leaving is the abort: in every state, for every endpoint, and nothing is left behind."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.api.routes import ROUTES, EngineRoute
from loadtest.bench.faults.bodies import BODIES, STREAMS, body_for
from loadtest.bench.faults.departures import Departures, State
from loadtest.bench.faults.raw_engine import unaccepting
from loadtest.simulator import SimulatedEngine
from loadtest.simulator.batch import Timing
from loadtest.simulator.faults import Faults
from tests.kit.gateways import RunningGateway, gateway, remote
from tests.kit.leaks import nothing_left
from tests.kit.wire import Wire

CHAT = "/v1/chat/completions"
LEAVE: list[Callable[[Wire], None]] = [lambda wire: wire.writer.close(), Wire.abort]


async def send(wire: Wire, path: str, **fields: Any) -> None:
    body, media = body_for(path, **fields)
    await wire.request("POST", path, body, {"content-type": media})


@asynccontextmanager
async def one_engine(tmp_path: Path, **options: Any) -> AsyncIterator[tuple[SimulatedEngine, RunningGateway]]:
    """A gateway with one engine that takes a second per token; whatever happens in the block leaves no trace."""
    async with (
        SimulatedEngine("m", uds=tmp_path / "a", timing=Timing(inter_token=1.0)) as engine,
        gateway({"m": remote(engine.address, **options)}) as running,
    ):
        async with nothing_left():
            yield engine, running
            await running.gateway.plane.idle()
            assert "0 in flight, 0 queued" in repr(running)
        metrics = await running.metrics()
        assert 'headgate_requests_running{model="m"} 0.0' in metrics
        assert 'headgate_tokens_in_flight{model="m"} 0.0' in metrics


def test_every_endpoint_is_tried_here() -> None:
    assert {path for (_, path), route in ROUTES.items() if isinstance(route, EngineRoute)} == BODIES.keys()


@pytest.mark.parametrize("state", State, ids=lambda state: state.value)
async def test_a_departure_in_any_state_reaches_the_engine_at_every_endpoint(tmp_path: Path, state: State) -> None:
    departures = Departures()
    async with departures.engines() as text:
        config = tomllib.loads(text)
        models, settings = config["models"], config["gateway"] | {"files": {"folder": str(tmp_path)}}
        async with (
            gateway(models, ready=models.keys() - {"held"}, **settings) as running,
            departures.gateway_at(running.address, running.control),
        ):
            for path in state.endpoints:
                await departures.measure(state, path)
            assert "0 in flight, 0 queued" in repr(running)


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("leave", LEAVE, ids=["close", "reset"])
async def test_while_the_first_byte_is_awaited(tmp_path: Path, path: str, leave: Callable[[Wire], None]) -> None:
    async with one_engine(tmp_path) as (engine, running):
        engine.faults = Faults(silent=True)
        wire = await running.wire()
        await send(wire, path)
        await engine.until(lambda e: e.received == 1)
        leave(wire)
        await engine.until(lambda e: e.aborted == 1)


@pytest.mark.parametrize("path", STREAMS)
@pytest.mark.parametrize("leave", LEAVE, ids=["close", "reset"])
async def test_within_a_stream(tmp_path: Path, path: str, leave: Callable[[Wire], None]) -> None:
    async with one_engine(tmp_path) as (engine, running):
        wire = await running.wire()
        await send(wire, path, stream=True)
        events = wire.events()
        await anext(events)
        assert engine.running == 1
        leave(wire)
        await engine.until(lambda e: e.aborted == 1 and e.running == 0)
        await events.aclose()


@pytest.mark.parametrize("path", STREAMS)
async def test_while_the_engine_computes_a_whole_answer(tmp_path: Path, path: str) -> None:
    async with one_engine(tmp_path) as (engine, running):
        wire = await running.wire()
        await send(wire, path)
        await engine.until(lambda e: e.running == 1)
        wire.abort()
        await engine.until(lambda e: e.aborted == 1 and e.running == 0)


async def test_in_the_queue(tmp_path: Path) -> None:
    async with one_engine(tmp_path, max_in_flight=1) as (engine, running):
        async with await running.wire() as first:
            await send(first, CHAT, stream=True)
            await first.head()
            waiting = await running.wire()
            await send(waiting, CHAT)
            await said(running, "1 in flight, 1 queued")
            waiting.abort()
            await said(running, "1 in flight, 0 queued")
        await engine.until(lambda e: e.aborted == 1)
        assert engine.received == 1


async def test_while_the_engine_is_connected_to() -> None:
    """A listening socket whose queue is full neither accepts a connection nor refuses it."""
    async with (
        SimulatedEngine("m") as engine,
        gateway({"m": remote(engine.address, health_interval=3600)}) as running,
        nothing_left(),
    ):
        port = int(engine.address.rpartition(":")[2])
        engine.crash()
        with unaccepting(port):
            wire = await running.wire()
            await send(wire, CHAT)
            await said(running, "1 in flight, 0 queued")
            wire.abort()
            await said(running, "0 in flight, 0 queued")


async def test_at_the_second_replica_when_the_first_has_failed(tmp_path: Path) -> None:
    async with (
        SimulatedEngine("m", uds=tmp_path / "a") as dying,
        SimulatedEngine("m", uds=tmp_path / "b") as silent,
        gateway({"m": remote(dying.address, silent.address)}) as running,
    ):
        silent.faults = Faults(silent=True)
        dying.faults = Faults(status=503)
        wires = [await running.wire() for _ in range(4)]
        for wire in wires:
            await send(wire, CHAT)
        await silent.until(lambda e: e.received == 4)
        assert dying.received >= 1
        for wire in wires:
            wire.abort()
        await silent.until(lambda e: e.aborted == 4)
        await running.gateway.plane.idle()
        assert "0 in flight, 0 queued" in repr(running)


async def test_what_was_pipelined_behind_it_never_reaches_an_engine(tmp_path: Path) -> None:
    async with one_engine(tmp_path) as (engine, running):
        engine.faults = Faults(silent=True)
        wire = await running.wire()
        await send(wire, CHAT)
        await send(wire, CHAT)
        await engine.until(lambda e: e.received == 1)
        wire.abort()
        await engine.until(lambda e: e.aborted == 1)
        await running.gateway.plane.idle()
        assert engine.received == 1


async def test_within_its_own_request(tmp_path: Path) -> None:
    async with one_engine(tmp_path) as (engine, running):
        wire = await running.wire()
        await wire.send(b'POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{"model":')
        wire.abort()
        async with await running.wire() as other:
            await other.request("GET", "/health")
            assert (await other.response()).status == 200
        assert engine.received == 0


async def test_a_client_that_stops_reading_is_one_that_left(tmp_path: Path) -> None:
    async with SimulatedEngine("m", uds=tmp_path / "a", faults=Faults(event_bytes=100_000)) as engine:
        models = {"m": remote(engine.address)}
        async with gateway(models, timeouts={"stalled_client": 0.3}) as running:
            wire = await running.wire(limit=1024)
            await send(wire, CHAT, stream=True)
            await engine.until(lambda e: e.blocked == 1)
            await engine.until(lambda e: e.aborted == 1)
            assert 'headgate_upstream_aborts_total{model="m",reason="client_stalled"} 1.0' in await running.metrics()
            wire.abort()


async def said(running: RunningGateway, words: str) -> None:
    """Let the loop run until the gateway's description says this."""
    async with asyncio.timeout(5):
        while words not in repr(running):  # noqa: ASYNC110 - the gateway has no event for each of its states
            await asyncio.sleep(0)
