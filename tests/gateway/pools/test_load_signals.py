"""A replica that others ask too is relieved, as long as its engine says so.

The engines are simulated ones, which tell their load as vLLM does; others ask them directly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.config.schema import Config
from gateway.config.types import PolicyName
from gateway.pools.build import RegistryBuilder
from gateway.pools.load_signals import LoadSignals
from gateway.pools.registry import Registry
from gateway.pools.replica import Replica, ReplicaState
from loadtest.simulator import SimulatedEngine, Timing
from tests.gateway.exchange.asking import CHAT, answer_to, ask
from tests.gateway.pools.made import Request
from tests.kit.gateways import gateway, remote
from tests.kit.scripted import scripted_engine, whole
from tests.kit.wire import Wire

SLOW = Timing(inter_token=60.0)


def registry_of(*addresses: str, **options: Any) -> Registry:
    """Build a model with these replicas, all of them ready."""
    config = Config.model_validate({"models": {"m": remote(*addresses, **options)}})
    registry = RegistryBuilder().build(config)
    for replica in registry.replicas:
        replica.set_state(ReplicaState.READY)
    return registry


@asynccontextmanager
async def asked_by_others(engine: SimulatedEngine, requests: int) -> AsyncIterator[None]:
    """Have requests of others at an engine, which do not end by themselves."""
    async with AsyncExitStack() as wires:
        for _ in range(requests):
            wire = await wires.enter_async_context(await Wire.connect_to(engine.address))
            await wire.request("POST", CHAT, ask(stream=True, max_tokens=1000))
        await engine.until(lambda engine: engine.running + engine.waiting == requests)
        yield
    await engine.until(lambda engine: engine.running + engine.waiting == 0)


@pytest.mark.parametrize("policy", ["least_tokens", "prefix"])
async def test_a_replica_that_others_ask_too_is_relieved(policy: PolicyName, tmp_path: Path) -> None:
    changed: list[Replica] = []
    async with (
        SimulatedEngine("m", uds=tmp_path / "a", timing=SLOW) as shared,
        SimulatedEngine("m", uds=tmp_path / "b", timing=SLOW) as own,
    ):
        registry = registry_of(shared.address, own.address, policy=policy)
        (pool,) = registry.pools
        signals = LoadSignals(registry, changed.append)

        def picked(requests: int) -> Counter[str]:
            counts: Counter[str] = Counter()
            for _ in range(requests):
                request = Request()
                replica = pool.pick(request)
                counts[replica.name] += 1
                assert pool.released is not None
                pool.released(replica, request)
            return counts

        assert picked(20) == {"m-0": 10, "m-1": 10}
        async with asked_by_others(shared, 8):
            await signals.look()
            assert changed == [registry.replicas[0]]
            assert registry.replicas[0].foreign == pytest.approx(2.4)
            assert picked(20) == {"m-1": 20}
        for _ in range(12):
            await signals.look()
        assert registry.replicas[0].foreign == 0.0
        assert picked(20) == {"m-0": 10, "m-1": 10}


async def test_what_was_sent_from_here_is_not_what_others_ask(tmp_path: Path) -> None:
    async with SimulatedEngine("m", uds=tmp_path / "a", timing=SLOW) as engine:
        registry = registry_of(engine.address, "http://127.0.0.1:1", policy="least_tokens")
        for _ in range(8):
            registry.replicas[0].load.entered()
        async with asked_by_others(engine, 8):
            await LoadSignals(registry, lambda _: None).look()
        assert registry.replicas[0].foreign == 0.0


async def test_a_policy_that_reads_no_load_costs_no_question(tmp_path: Path) -> None:
    async with SimulatedEngine("m", uds=tmp_path / "a") as engine:
        registry = registry_of(engine.address, "http://127.0.0.1:1", policy="least_in_flight")
        await LoadSignals(registry, lambda _: None).look()
        assert engine.probes == 0


async def test_an_engine_without_such_metrics_is_left_alone_for_a_while() -> None:
    async with scripted_engine() as engine:
        registry = registry_of(engine.url, "http://127.0.0.1:1", policy="prefix")
        signals = LoadSignals(registry, lambda _: None)
        for _ in range(3):
            await signals.look()
        assert engine.probes == [b"/metrics"]


async def test_what_a_response_says_in_its_head_is_taken_in_place_of_a_question() -> None:
    async with scripted_engine() as engine:
        url = engine.url
        engine.answer = [whole(b"{}", headers=b"endpoint-load-metrics: TEXT named_metrics.num_requests_waiting=10\r\n")]
        async with gateway({"m": remote(url, "http://127.0.0.1:1", policy="prefix")}) as running:
            answer = await answer_to(running, ask())
            assert answer.header("endpoint-load-metrics") is None
            registry = Registry(running.gateway.plane.registry.models)
            before = engine.probes.count(b"/metrics")
            await LoadSignals(registry, lambda _: None).look()
            assert engine.probes.count(b"/metrics") == before
            assert registry.replicas[0].foreign == pytest.approx(3.0)


async def test_what_is_too_old_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("gateway.pools.load_signals.monotonic", lambda: now[0])
    async with SimulatedEngine("m", uds=tmp_path / "a", timing=SLOW) as engine:
        registry = registry_of(engine.address, "http://127.0.0.1:1", policy="prefix")
        signals = LoadSignals(registry, lambda _: None)
        async with asked_by_others(engine, 8):
            await signals.look()
            registry.replicas[0].set_state(ReplicaState.FAILING)
            for seconds, known in ((4.0, True), (2.0, False)):
                now[0] += seconds
                await signals.look()
                assert bool(registry.replicas[0].foreign) is known


async def test_it_asks_by_itself_until_it_is_stopped(tmp_path: Path) -> None:
    async with SimulatedEngine("m", uds=tmp_path / "a") as engine:
        registry = registry_of(engine.address, "http://127.0.0.1:1", policy="prefix")
        signals = LoadSignals(registry, lambda _: None, seconds=0.01)
        signals.start()
        await engine.until(lambda engine: engine.probes >= 3)
        await signals.stop()
        assert repr(signals) == "<LoadSignals of 2 replicas>"
