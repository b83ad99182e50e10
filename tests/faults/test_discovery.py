"""Replicas come and go by what their source tells, under load, and no request fails."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from gateway.app import Gateway
from gateway.config.schema import Config
from gateway.console.startup_log import StartupLog
from gateway.discovery import cluster as cluster_module
from gateway.discovery import file as file_module
from gateway.reload.reloader import ConfigSource
from loadtest.simulator import SimulatedEngine, Timing
from loadtest.simulator.instant import InstantEngine
from tests.kit.gateways import RunningGateway, gateway
from tests.kit.kubernetes import ApiServer, api_server, endpoint, endpoint_slice
from tests.kit.leaks import nothing_left
from tests.kit.wire import Wire

ASKED = {"model": "m", "prompt": "a", "max_tokens": 2}
REMOTE = {"engine": "remote", "health_interval": 0.05}


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_module, "_LOOK_SECONDS", 0.02)


class Clients:
    """Clients that ask one request after the other until it is enough."""

    def __init__(self, running: RunningGateway, count: int) -> None:
        self.statuses: Counter[int] = Counter()
        self._running = running
        self._enough = False
        self._tasks = [asyncio.create_task(self._ask()) for _ in range(count)]

    async def end(self) -> Counter[int]:
        """Let each have its last response; return how many there were of each status."""
        self._enough = True
        await asyncio.gather(*self._tasks)
        return self.statuses

    async def _ask(self) -> None:
        async with await self._running.wire() as wire:
            while not self._enough:
                await wire.request("POST", "/v1/completions", ASKED)
                self.statuses[(await wire.response()).status] += 1


async def model_of(running: RunningGateway) -> Any:
    """Ask for the status of the only model."""
    async with await Wire.connect_to(running.control) as wire:
        await wire.request("GET", "/status")
        return (await wire.response()).json["models"][0]


async def readiness(running: RunningGateway) -> tuple[int, list[str]]:
    """Ask whether every model can answer, and why not."""
    async with await Wire.connect_to(running.control) as wire:
        await wire.request("GET", "/readyz")
        response = await wire.response()
        return response.status, response.json["reasons"]


async def until(running: RunningGateway, holds: Callable[[Any], bool]) -> Any:
    """Look at the status of the model until it is as expected, and return it."""
    seen: Any = None
    try:
        async with asyncio.timeout(60):
            while not holds(seen := await model_of(running)):  # noqa: ASYNC110 - a status tells nobody that it changed
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"still {seen}") from None
    return seen


async def serves(engine: SimulatedEngine, requests: int) -> None:
    """Wait until an engine has served so many requests more."""
    enough = engine.counts.served + requests
    await engine.until(lambda each: each.counts.served >= enough, 60)


def serves_from(*addresses: str) -> Callable[[Any], bool]:
    """Tell whether a model has exactly these replicas, and all are ready."""
    return lambda seen: {each["address"]: each["ready"] for each in seen["replicas"]} == dict.fromkeys(addresses, True)


@asynccontextmanager
async def engine_at(hosts: Sequence[str]) -> AsyncIterator[tuple[InstantEngine, int]]:
    """Run one engine at one port of several addresses."""
    engine = InstantEngine()
    port = await engine.start(hosts)
    try:
        yield engine, port
    finally:
        engine.close()


HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4")


class Resolver:
    """The system's resolver, which knows one more name."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hosts: list[str] = []
        self.asked = 0
        self._real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self._resolve)

    def _resolve(self, host: str, port: int, **options: Any) -> Any:
        if host != "vllm.test":
            return self._real(host, port, **options)
        self.asked += 1
        if not self.hosts:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in self.hosts]

    async def until_asked(self, times: int) -> None:
        """Wait until the name has been looked up so many times more."""
        enough = self.asked + times
        async with asyncio.timeout(60):
            while self.asked < enough:  # noqa: ASYNC110 - the resolver tells nobody that it is asked
                await asyncio.sleep(0.01)


async def test_a_name_whose_addresses_change_at_each_look_fails_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = Resolver(monkeypatch)
    resolver.hosts = [HOSTS[0]]
    async with engine_at(HOSTS) as (_, port), nothing_left():
        discover = {"dns": f"http://vllm.test:{port}", "interval": 0.1}
        async with gateway({"m": REMOTE | {"discover": discover}}) as running:
            clients = Clients(running, 8)
            for number in range(20):
                resolver.hosts = [HOSTS[number % 4], HOSTS[(number // 4) % 4]][: 1 + number % 2]
                await resolver.until_asked(1)
            # Neither does one that has none any more, or more than there may be.
            resolver.hosts = []
            await resolver.until_asked(2)
            seen = await model_of(running)
            assert seen["discovery"]["trouble"] == "'vllm.test' was not resolved: Name or service not known"
            assert seen["discovery"]["errors"] >= 1
            assert any(each["ready"] for each in seen["replicas"])
            resolver.hosts = list(HOSTS)
            await until(running, serves_from(*(f"http://{host}:{port}" for host in HOSTS)))
            statuses = await clients.end()
            assert set(statuses) == {200}
            assert 'headgate_discovered_replicas{model="m"} 4.0' in await running.metrics()


async def test_five_thousand_addresses_are_as_many_replicas_as_there_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = Resolver(monkeypatch)
    resolver.hosts = list(HOSTS[:2])
    async with engine_at(HOSTS) as (_, port):
        discover = {"dns": f"http://vllm.test:{port}", "interval": 0.1, "max_replicas": 4}
        async with gateway({"m": REMOTE | {"discover": discover}}) as running:
            clients = Clients(running, 4)
            resolver.hosts = [f"127.0.{number // 250}.{1 + number % 250}" for number in range(5000)]
            seen = await until(running, lambda seen: len(seen["replicas"]) == 4)
            await resolver.until_asked(2)
            assert [each["address"] for each in seen["replicas"][:2]] == [f"http://{host}:{port}" for host in HOSTS[:2]]
            assert set(await clients.end()) == {200}


class Listed:
    """A file that lists replicas."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "replicas.json"

    def write(self, *engines: SimulatedEngine) -> None:
        """List these and no others; as a whole, as it is renamed."""
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps([{"targets": [each.address for each in engines]}]))
        new.rename(self.path)


async def test_a_replica_that_leaves_gets_nothing_new_and_ends_what_it_has(tmp_path: Path) -> None:
    listed = Listed(tmp_path)
    # The stream is to last until its replica was seen to drain.
    slow = Timing(inter_token=0.5)
    async with (
        SimulatedEngine("m", uds=tmp_path / "a", timing=slow) as leaves,
        SimulatedEngine("m", uds=tmp_path / "b") as stays,
        nothing_left(),
    ):
        listed.write(leaves)
        model = REMOTE | {"discover": {"file": str(listed.path)}}
        async with gateway({"m": model}) as running, await running.wire() as wire:
            await wire.request("POST", "/v1/completions", ASKED | {"max_tokens": 8, "stream": True})
            events = wire.events()
            first = await anext(events)
            listed.write(stays)
            seen = await until(running, lambda seen: any(each["state"] == "draining" for each in seen["replicas"]))
            assert [each["in_flight"] for each in seen["replicas"] if each["state"] == "draining"] == [1]
            received = leaves.counts.received
            clients = Clients(running, 4)
            await serves(stays, 50)
            assert set(await clients.end()) == {200}
            rest = [event async for event in events]
            assert (first[:5], rest[-1]) == (b"data:", b"data: [DONE]")
            await until(running, serves_from(stays.address))
            await leaves.until(lambda engine: engine.connections == 0)
            assert leaves.counts.received == received


async def test_a_file_that_breaks_and_an_empty_one(tmp_path: Path) -> None:
    listed = Listed(tmp_path)
    async with SimulatedEngine("m", uds=tmp_path / "a") as engine:
        listed.write(engine)
        model = REMOTE | {"hold": 0, "discover": {"file": str(listed.path)}}
        async with gateway({"m": model}) as running, await running.wire() as wire:
            listed.path.write_text('[\n{"targets": [}\n]')
            seen = await until(running, lambda seen: seen["discovery"]["errors"] > 1)
            assert seen["discovery"]["trouble"].startswith("line 2, column 14: is no JSON: ")
            assert serves_from(engine.address)(seen)
            listed.write()
            await until(running, lambda seen: not seen["replicas"])
            await wire.request("POST", "/v1/completions", ASKED)
            response = await wire.response()
            assert (response.status, response.json["error"]["code"]) == (503, "no_ready_replica")
            listed.write(engine)
            await until(running, serves_from(engine.address))


async def test_a_reload_keeps_what_was_found(tmp_path: Path) -> None:
    listed = Listed(tmp_path)
    async with SimulatedEngine("m", uds=tmp_path / "a") as engine, nothing_left():
        listed.write(engine)
        model = REMOTE | {"discover": {"file": str(listed.path)}}
        config = Config.model_validate(
            {
                "gateway": {"listen": "127.0.0.1:0", "control": "127.0.0.1:0", "access_log": "off"},
                "models": {"m": model},
            }
        )
        changed = config.model_copy(update={"models": {"m": config.models["m"].model_copy(update={"aliases": ("n",)})}})
        made = Gateway(config, tmp_path, StartupLog(io.StringIO()), ConfigSource(lambda: changed, ()))
        await made.start()
        running = RunningGateway(made)
        await running.until_ready(["m"])
        clients = Clients(running, 4)
        for _ in range(5):
            listed.path.unlink(missing_ok=True)
            assert made.commands.reload().successful
            await serves(engine, 20)
            assert serves_from(engine.address)(await model_of(running))
        assert set(await clients.end()) == {200}
        await made.stop()


@pytest.fixture
async def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiServer]:
    """Let this process be a pod of a cluster."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with api_server(context) as server:
        server.token = "secret"
        (tmp_path / "token").write_text("secret")
        authority.cert_pem.write_to_path(tmp_path / "ca.crt")
        monkeypatch.setattr(cluster_module, "SERVICE_ACCOUNT", tmp_path)
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", server.url.rpartition(":")[2])
        yield server


async def test_pods_of_a_service_are_replaced_and_scaled_to_zero_and_back(cluster: ApiServer) -> None:
    async with engine_at(HOSTS) as (_, port):

        def put(*endpoints: dict[str, Any]) -> None:
            cluster.put(endpoint_slice("vllm-a", *endpoints, ports={"http": port}))

        def pods(*hosts: str) -> Callable[[Any], bool]:
            return serves_from(*(f"http://{host}:{port}" for host in hosts))

        put(endpoint(HOSTS[0]), endpoint(HOSTS[1]))
        async with gateway({"m": REMOTE | {"discover": {"kubernetes": "default/vllm:http"}}}) as running:
            await until(running, pods(HOSTS[0], HOSTS[1]))
            clients = Clients(running, 4)
            leaving = [endpoint(host, ready=False, serving=True, terminating=True) for host in HOSTS[:2]]
            for new in (HOSTS[2], HOSTS[3]):
                put(leaving[0], endpoint(HOSTS[1]), endpoint(new, ready=False))
                await until(running, pods(HOSTS[1]))
                put(endpoint(HOSTS[1]), endpoint(new))
                await until(running, pods(HOSTS[1], new))
                put(endpoint(HOSTS[1]))
                await until(running, pods(HOSTS[1]))
            # Where all terminate, they serve until there is another one.
            put(leaving[1])
            await until(running, lambda seen: pods(HOSTS[1])(seen) and not seen["discovery"]["addresses"])
            put(leaving[1], endpoint(HOSTS[0]))
            await until(running, pods(HOSTS[0]))
            assert set(await clients.end()) == {200}
            # Without any, requests wait, and are the demand by which an autoscaler starts a pod.
            put()
            await until(running, lambda seen: not seen["replicas"])
            assert 'headgate_demand{model="m"} 0.0' in await running.metrics()
            async with await running.wire() as wire, await running.wire() as looking:
                await wire.request("POST", "/v1/completions", ASKED)
                await until(running, lambda seen: seen["waiting"] == 1)
                assert 'headgate_demand{model="m"} 1.0' in await running.metrics()
                for pod in ([], [endpoint(HOSTS[3], ready=False)]):
                    put(*pod)
                    await until(running, lambda seen: not seen["discovery"]["trouble"])
                    assert await readiness(running) == (200, [])
                    await looking.request("GET", "/v1/models")
                    assert [card["id"] for card in (await looking.response()).json["data"]] == ["m"]
                put(endpoint(HOSTS[3]))
                assert (await wire.response()).status == 200
            # A pod that is there and not ready is a fault.
            put(endpoint(HOSTS[3], ready=False))
            await until(running, lambda seen: not seen["replicas"])
            assert await readiness(running) == (503, ["The model 'm' has no ready replica (absent)."])


async def test_who_waits_at_zero_longer_than_hold_is_told(tmp_path: Path) -> None:
    listed = Listed(tmp_path)
    listed.write()
    model = REMOTE | {"hold": 0.3, "discover": {"file": str(listed.path)}}
    async with gateway({"m": model}, ready=()) as running, await running.wire() as wire:
        await wire.request("POST", "/v1/completions", ASKED)
        response = await wire.response()
        assert (response.status, response.json["error"]["code"]) == (503, "no_ready_replica")
        assert await readiness(running) == (200, [])


@pytest.mark.slow
async def test_several_processes_have_what_the_first_one_finds(tmp_path: Path) -> None:
    listed = Listed(tmp_path)
    async with (
        SimulatedEngine("m", uds=tmp_path / "a", timing=Timing(ttft=0.005)) as first,
        SimulatedEngine("m", uds=tmp_path / "b", timing=Timing(ttft=0.005)) as second,
        SimulatedEngine("m", uds=tmp_path / "c", timing=Timing(ttft=0.005)) as third,
        nothing_left(),
    ):
        engines = (first, second, third)
        listed.write(first)
        model = REMOTE | {"discover": {"file": str(listed.path)}}
        async with gateway({"m": model}, processes=2) as running:
            clients = Clients(running, 16)
            for number in range(9):
                wanted = (engines[number % 3], engines[(number + 1) % 3])
                listed.write(*wanted)
                await until(running, serves_from(*(each.address for each in wanted)))
                for each in wanted:
                    await serves(each, 5)
            gone = engines[(number + 2) % 3]
            received = gone.counts.received
            await serves(wanted[0], 50)
            assert gone.counts.received == received
            # A pool may have none for a while in all processes, and those that ask wait.
            listed.write()
            await until(running, lambda seen: not seen["replicas"] and seen["waiting"] == 16)
            async with await running.wire() as wire:
                await wire.request("GET", "/v1/models")
                assert [card["id"] for card in (await wire.response()).json["data"]] == ["m"]
            listed.write(third)
            await until(running, serves_from(third.address))
            assert set(await clients.end()) == {200}
