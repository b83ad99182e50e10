"""A health check finds out whether a replica lives, and how long the requests of its models may be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.http.address import Address
from gateway.http.connection_pool import ConnectionPool
from gateway.pools.admission import Admission
from gateway.pools.health import HealthCheck, HealthChecks
from gateway.pools.model import Model
from gateway.pools.policies.round_robin import RoundRobin
from gateway.pools.pool import Pool
from gateway.pools.registry import Registry
from gateway.pools.replica import Replica, ReplicaState
from tests.gateway.pools.made import replica
from tests.kit.eventually import eventually

MODELS = b'{"data":[{"id":"other","max_model_len":1},{"id":"m","max_model_len":2048}]}'


class Engine:
    """A listening socket that answers every request as told, and says when it was asked."""

    def __init__(self) -> None:
        self.health = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
        self.models = MODELS
        self.closes = True
        self.asked: list[bytes] = []
        self._changed = asyncio.Condition()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(self.health if b"/health" in head else answer(self.models))
            await writer.drain()
            if not self.closes:
                await reader.read()
        finally:
            writer.close()
            async with self._changed:
                self.asked.append(head.split(b" ")[1])
                self._changed.notify_all()

    async def until_probed(self, times: int) -> None:
        """Wait until it was asked for its health so often, and no more."""
        await self.until(lambda: self.asked.count(b"/health") >= times)
        assert self.asked.count(b"/health") == times

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(condition)


def answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


@asynccontextmanager
async def listening(path: Path) -> AsyncIterator[Engine]:
    engine = Engine()
    server = await asyncio.start_unix_server(engine.serve, path)
    try:
        yield engine
    finally:
        server.close()
        await server.wait_closed()


def model_at(path: Path) -> Model:
    replica = Replica("m-0", ConnectionPool(Address.parse(f"unix:{path}"), connect_timeout=1.0))
    return Model("m", Pool("m", [replica], policy=RoundRobin(), admission=Admission(None, 0)), tasks={"generate"})


def health_check(*models: Model, interval: float = 1.0, **options: Any) -> HealthCheck:
    return HealthCheck(models[0].pool.replicas[0], models, interval=interval, timeout=1.0, **({"up": True} | options))


@asynccontextmanager
async def checking(*models: Model, up: bool = True) -> AsyncIterator[HealthCheck]:
    check = health_check(*models, interval=0.01, up=up)
    task = asyncio.create_task(check.run())
    try:
        yield check
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        models[0].pool.replicas[0].connections.close()


async def test_a_replica_that_answers_is_ready_and_its_model_length_is_known(tmp_path: Path) -> None:
    model = model_at(tmp_path / "s")
    async with listening(tmp_path / "s") as engine, checking(model):
        await engine.until(lambda: b"/v1/models" in engine.asked and len(engine.asked) > 3)
        assert repr(model.pool) == "<Pool 'm' [1 ready, 0 not; 0 in flight, 0 queued]>"
        assert model.max_model_len == 2048


async def test_a_replica_without_health_endpoint_is_alive_too(tmp_path: Path) -> None:
    model = model_at(tmp_path / "s")
    async with listening(tmp_path / "s") as engine:
        engine.health = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
        async with checking(model):
            await engine.until(lambda: len(engine.asked) > 2)
            assert model.pool.replicas[0].ready


async def test_a_probe_leaves_no_connection_behind_where_the_engine_does_not_close_it(tmp_path: Path) -> None:
    model = model_at(tmp_path / "s")
    async with listening(tmp_path / "s") as engine:
        engine.closes = False
        await health_check(model).probe()
        assert model.pool.replicas[0].connections.take() is None
        await eventually(lambda: "0 open, 0 idle" in repr(model.pool.replicas[0].connections))


async def test_a_replica_that_fails_its_probes_is_out_with_the_reason_and_comes_back(tmp_path: Path) -> None:
    model = model_at(tmp_path / "s")
    replica = model.pool.replicas[0]
    async with listening(tmp_path / "s") as engine, checking(model):
        await engine.until(lambda: len(engine.asked) > 2)
        engine.health = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
        asked = len(engine.asked)
        await engine.until(lambda: len(engine.asked) > asked + 5)
        assert not replica.ready
        assert replica.reason == "/health answered 503."
        assert model.pool.ready == []
        engine.health = answer(b"")
        asked = len(engine.asked)
        await engine.until(lambda: len(engine.asked) > asked + 2)
        assert replica.ready


async def test_a_replica_that_is_not_there_says_so(tmp_path: Path) -> None:
    model = model_at(tmp_path / "nobody")
    check = health_check(model, interval=0.01)
    await check.probe()
    assert model.pool.replicas[0].state is ReplicaState.FAILING
    assert "The engine refused the connection: No such file or directory" in model.pool.replicas[0].reason


async def test_a_replica_that_is_not_up_is_not_asked(tmp_path: Path) -> None:
    model = model_at(tmp_path / "s")
    async with listening(tmp_path / "s") as engine, checking(model, up=False) as check:
        for _ in range(20):
            await asyncio.sleep(0)
        assert engine.asked == []
        check.set_up(up=True)
        await engine.until(lambda: len(engine.asked) > 1)
        assert model.pool.replicas[0].ready
        assert repr(check).endswith("[up]>")


async def test_while_requests_are_answered_five_of_six_probes_are_left_out(tmp_path: Path) -> None:
    model = model_at(tmp_path / "s")
    check = health_check(model, interval=1.0)
    async with listening(tmp_path / "s") as engine:
        for _ in range(13):
            model.pool.replicas[0].succeeded()
            await check.probe_if_needed()
        await engine.until_probed(3)


async def test_a_replica_is_probed_when_nothing_was_answered_since_the_last_time(tmp_path: Path) -> None:
    model = model_at(tmp_path / "s")
    replica = model.pool.replicas[0]
    check = health_check(model, interval=1.0)
    async with listening(tmp_path / "s") as engine:
        await check.probe_if_needed()
        replica.succeeded()
        await check.probe_if_needed()
        engine.health = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
        for _ in range(3):
            assert replica.ready
            await check.probe_if_needed()
        assert not replica.ready
        await engine.until_probed(4)


async def test_a_replica_that_is_out_is_probed_whatever_it_answers(tmp_path: Path) -> None:
    model = model_at(tmp_path / "s")
    replica = model.pool.replicas[0]
    check = health_check(model, interval=1.0)
    async with listening(tmp_path / "s"):
        await check.probe_if_needed()
        replica.set_state(ReplicaState.FAILING, "It hangs.")
        replica.succeeded()
        await check.probe_if_needed()
        assert replica.ready


async def test_intervals_differ_by_a_tenth_each_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_at(tmp_path / "s")
    draws = [1.0, 0.5, 0.0]
    check = health_check(model, interval=100.0, phase=0.5, draw=draws.pop)
    rested: list[float] = []

    async def rest(seconds: float) -> None:
        rested.append(seconds)

    monkeypatch.setattr(check, "_rest", rest)
    async with listening(tmp_path / "s"):
        with pytest.raises(IndexError):
            await check.run()
    assert rested == pytest.approx([50.0, 90.0, 100.0, 110.0])


async def test_a_suspect_is_probed_at_once_and_given_up_if_that_fails(tmp_path: Path) -> None:
    model = model_at(tmp_path / "s")
    replica = model.pool.replicas[0]
    check = health_check(model, interval=3600.0)
    async with listening(tmp_path / "s") as engine:
        task = asyncio.create_task(check.run())
        await check.first_probe()
        engine.health = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n"
        for _ in range(3):
            replica.failed("It was silent.")
        await engine.until(lambda: engine.asked.count(b"/health") == 2)
        await eventually(lambda: replica.state is ReplicaState.FAILING)
        assert replica.reason == "/health answered 500."
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_ejected_replica_is_probed_when_its_time_is_over(tmp_path: Path) -> None:
    model = model_at(tmp_path / "s")
    replica = model.pool.replicas[0]
    model.pool.add(Replica("other", replica.connections, ready=True))
    model.pool.ejections.configure(0.01, 0.0)
    check = health_check(model, interval=3600.0)
    async with listening(tmp_path / "s"):
        task = asyncio.create_task(check.run())
        await check.first_probe()
        model.pool.ejections.suspect("m-0", "failures", "It was silent.")
        assert replica.state is ReplicaState.EJECTED
        await eventually(lambda: replica.state is ReplicaState.HALF_OPEN)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_checks_that_begin_together_go_on_at_different_moments(tmp_path: Path) -> None:
    model = model_at(tmp_path / "s")
    check = health_check(model, interval=3600.0, phase=1e-6)
    async with listening(tmp_path / "s") as engine:
        task = asyncio.create_task(check.run())
        await engine.until(lambda: engine.asked.count(b"/health") == 2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_engine_that_does_not_say_how_long_requests_may_be_is_asked_again_when_it_comes_back(
    tmp_path: Path,
) -> None:
    model = model_at(tmp_path / "s")
    check = health_check(model, interval=1.0)
    async with listening(tmp_path / "s") as engine:
        engine.models = b'{"data":[{"id":"m"}]}'
        for _ in range(3):
            await check.probe()
        await engine.until_probed(3)
        assert engine.asked.count(b"/v1/models") == 1
        engine.health = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
        await check.probe()
        engine.health = answer(b"")
        engine.models = MODELS
        await check.probe()
        assert model.max_model_len == 2048


async def test_each_model_of_a_pool_learns_its_own_length_from_one_probe(tmp_path: Path) -> None:
    base = model_at(tmp_path / "s")
    adapter = Model("mine", base.pool, tasks={"generate"}, upstream_name="sql-lora")
    unknown = Model("unknown", base.pool, tasks={"generate"})
    async with listening(tmp_path / "s") as engine:
        engine.models = b'{"data":[{"id":"m","max_model_len":2048},{"id":"sql-lora","max_model_len":1024}]}'
        await health_check(base, adapter, unknown).probe()
        assert engine.asked == [b"/health", b"/v1/models"]
    assert [each.max_model_len for each in (base, adapter, unknown)] == [2048, 1024, None]


async def test_replicas_that_come_and_go_are_checked_as_long_as_they_are_there(tmp_path: Path) -> None:
    model = model_at(tmp_path / "a")
    checks = HealthChecks(Registry([model]), {"m": 0.01}, timeout=1.0)
    async with listening(tmp_path / "a") as first, listening(tmp_path / "b") as second:
        checks.start()
        await checks.first_probes()
        came = Replica("m-1", ConnectionPool(Address.parse(f"unix:{tmp_path / 'b'}"), connect_timeout=1.0))
        model.pool.add(came)
        await second.until(lambda: len(second.asked) > 2)
        assert came.ready
        assert repr(checks) == "<HealthChecks of ['m-0', 'm-1']>"
        model.pool.remove(model.pool.replicas[0])
        assert repr(checks) == "<HealthChecks of ['m-1']>"
        # Of the one that went, at most the probe that was under way arrives.
        asked, there = len(first.asked), len(second.asked)
        await second.until(lambda: len(second.asked) > there + 5)
        assert len(first.asked) <= asked + 1
        await checks.stop()


async def test_replicas_that_come_together_are_probed_at_different_moments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_at(tmp_path / "a")
    checks = HealthChecks(Registry([model]), {"m": 1000.0}, timeout=1.0)
    checks.start()
    await checks.first_probes()
    pauses: list[float] = []
    limited = asyncio.timeout

    def watched(seconds: float) -> asyncio.Timeout:
        if seconds > 100.0:
            pauses.append(seconds)
        return limited(seconds)

    monkeypatch.setattr(asyncio, "timeout", watched)
    model.pool.replace([replica(f"m-{number}", ready=False) for number in range(1, 5)], ())
    await eventually(lambda: len(pauses) == 4)
    monkeypatch.undo()
    assert sorted(pauses) == [250.0, 500.0, 750.0, 1000.0]
    await checks.stop()


async def test_a_supervised_replica_is_not_probed_before_it_is_up(tmp_path: Path) -> None:
    model = model_at(tmp_path / "s")
    checks = HealthChecks(Registry([model]), {"m": 0.01}, timeout=1.0, supervised={"m-0"})
    async with listening(tmp_path / "s") as engine:
        checks.start()
        await checks.first_probes()
        for _ in range(20):
            await asyncio.sleep(0)
        assert engine.asked == []
        checks.set_up("m-0", up=True)
        await engine.until(lambda: len(engine.asked) > 1)
        await checks.stop()
