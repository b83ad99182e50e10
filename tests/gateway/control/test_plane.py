"""The control plane answers over HTTP from a thread of its own, whatever the data plane is doing."""

from __future__ import annotations

import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic, perf_counter
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from gateway.control.plane import ControlPlane
from gateway.core.keys import Key
from gateway.core.limits import KeyLimits, LocalUsage, Quota, Rate
from gateway.http.address import Address
from gateway.http.connection_pool import ConnectionPool
from gateway.observe.counters import Counters
from gateway.observe.exposition import Exposition
from gateway.pools.admission import Admission
from gateway.pools.discovered import Discovered
from gateway.pools.model import Model
from gateway.pools.policies.round_robin import RoundRobin
from gateway.pools.pool import Pool
from gateway.pools.registry import Registry
from gateway.pools.replica import Replica, ReplicaState
from loadtest.simulator import SimulatedEngine
from tests.gateway.control.served import Plane, view_of
from tests.kit.gateways import gateway, remote
from tests.kit.wire import Wire


def model(name: str, *, required: bool = True, ready: bool = False) -> Model:
    replica = Replica(f"{name}-0", ConnectionPool(Address.parse("http://10.0.0.1:1"), connect_timeout=1.0), ready=ready)
    pool = Pool(name, [replica], policy=RoundRobin(), admission=Admission(4, 4))
    return Model(name, pool, tasks={"generate"}, required=required)


@dataclass(frozen=True)
class Running:
    plane: ControlPlane
    gateway: Plane

    def get(self, path: str) -> tuple[int, str, str]:
        """Ask, and return status, media type and body."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.plane.port}{path}", timeout=10) as answer:
                return answer.status, answer.headers["content-type"], answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers["content-type"], error.read().decode()

    def json(self, path: str) -> tuple[int, Any]:
        status, _, body = self.get(path)
        return status, json.loads(body)


NOTHING = Exposition(Counters, lambda: Registry([]), "1.2", "abc")


@pytest.fixture
def running() -> Iterator[Running]:
    gateway = Plane()
    metrics = Exposition(Counters, lambda: gateway.registry, "1.2", "abc")
    plane = ControlPlane("127.0.0.1", 0, view_of(gateway), metrics)
    plane.start()
    yield Running(plane, gateway)
    plane.stop()


def test_a_gateway_whose_loop_beats_is_alive_without_any_engine(running: Running) -> None:
    running.gateway.registry = Registry([model("m")])
    running.gateway.draining = True
    assert running.json("/livez") == (200, {"status": "alive"})


def test_a_gateway_whose_loop_is_stuck_is_not_alive(running: Running) -> None:
    running.gateway.last_tick = monotonic() - 7
    status, body = running.json("/livez")
    assert (status, body["status"]) == (503, "stuck")
    assert body["silent_seconds"] >= 7


def test_ready_is_when_every_required_model_has_a_ready_replica(running: Running) -> None:
    first, second = model("a", ready=True), model("b")
    running.gateway.registry = Registry([first, second, model("c", required=False)])
    assert running.json("/readyz") == (
        503,
        {"status": "not ready", "reasons": ["The model 'b' has no ready replica (starting)."]},
    )
    second.pool.replicas[0].set_state(ReplicaState.READY)
    assert running.json("/readyz") == (200, {"status": "ready", "reasons": []})


def test_a_draining_gateway_is_not_ready(running: Running) -> None:
    running.gateway.draining = True
    status, body = running.json("/readyz")
    assert (status, body["reasons"]) == (503, ["the gateway is shutting down"])


def test_the_status_tells_each_replica(running: Running) -> None:
    running.gateway.registry = Registry([model("m")])
    running.gateway.registry.models[0].pool.replicas[0].set_state(ReplicaState.FAILED, "no file")
    replica = {"name": "m-0", "address": "http://10.0.0.1:1", "state": "failed", "ready": False, "in_flight": 0}
    shown = {
        "model": "m",
        "pool": "m",
        "running": 0,
        "waiting": 0,
        "limit": 4,
        "replicas": [replica | {"reason": "no file", "weight": 1.0}],
    }
    assert running.json("/status") == (200, {"draining": False, "models": [shown]})


def test_the_status_tells_where_replicas_were_found(running: Running) -> None:
    made = model("m")
    made.pool.discovered = Discovered("dns http://vllm:1", ("http://10.0.0.1:1",), perf_counter(), 3, "no addresses")
    running.gateway.registry = Registry([made])
    (shown,) = running.json("/status")[1]["models"]
    assert 0 <= shown["discovery"].pop("age_seconds") < 60
    assert shown["discovery"] == {
        "source": "dns http://vllm:1",
        "addresses": ["http://10.0.0.1:1"],
        "errors": 3,
        "trouble": "no addresses",
    }


def test_keys_are_shown_with_what_they_have_used(running: Running) -> None:
    usage = LocalUsage()
    quota = Quota("key 'alice'", [Rate("requests_per_day", 5, usage.window("key 'alice'", "requests_per_day"))])
    limits = KeyLimits([quota], usage.lock("key 'alice'"))
    limits.admit(0, 0, int(perf_counter() * 1e9))
    running.gateway.keyring = [Key("alice", frozenset(), limits=limits)]
    status, shown = running.json("/keys")
    assert (status, shown["groups"]) == (200, [])
    assert shown["keys"][0]["limits"] == {"requests_per_day": {"limit": 5, "used": 1}}


def test_models_that_share_a_pool_are_each_shown_with_it(running: Running) -> None:
    base = model("base", ready=True)
    running.gateway.registry = Registry([base, Model("adapter", base.pool, tasks={"generate"})])
    shown = running.json("/status")[1]["models"]
    assert [(each["model"], each["pool"], each["replicas"][0]["name"]) for each in shown] == [
        ("base", "base", "base-0"),
        ("adapter", "base", "base-0"),
    ]


def test_a_gateway_without_anyone_to_take_requests_is_not_ready(running: Running) -> None:
    running.gateway.troubles = ["no process takes requests"]
    status, body = running.json("/readyz")
    assert (status, body["reasons"]) == (503, ["no process takes requests"])


def test_the_status_tells_each_process_where_there_are_several(running: Running) -> None:
    running.gateway.processes = [{"pid": 7, "serving": True, "connections": 3}]
    assert running.json("/status")[1]["processes"] == [{"pid": 7, "serving": True, "connections": 3}]


def test_the_metrics_are_brought_up_to_date_first(running: Running) -> None:
    running.get("/metrics")
    assert running.gateway.counted == 1


def test_the_metrics_are_prometheus_text(running: Running) -> None:
    running.gateway.registry = Registry([model("m")])
    status, media, body = running.get("/metrics")
    assert status == 200
    assert media.startswith("text/plain; version=")
    families = {family.name: family for family in text_string_to_metric_families(body)}
    assert all(name.startswith(("headgate_", "process_")) for name in families)
    assert families["headgate_replica_ready"].samples[0].labels == {"model": "m", "replica": "m-0"}


def test_the_metrics_are_openmetrics_for_those_who_ask(running: Running) -> None:
    running.gateway.registry = Registry([model("m")])
    asked = urllib.request.Request(
        f"http://127.0.0.1:{running.plane.port}/metrics",
        headers={"accept": "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.4"},
    )
    with urllib.request.urlopen(asked, timeout=10) as answer:
        assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        families = {each.name: each for each in openmetrics(answer.read().decode())}  # type: ignore[no-untyped-call]
    assert families["headgate_requests"].type == "counter"
    assert families["headgate_overhead_seconds"].type == "histogram"
    assert families["headgate_overhead_seconds"].samples[0].labels["le"] == "5e-05"


def test_a_page_for_people_is_at_the_root(running: Running) -> None:
    status, media, body = running.get("/")
    assert (status, media) == (200, "text/html; charset=utf-8")
    assert "<title>Headgate</title>" in body


def test_nothing_else_is_there(running: Running) -> None:
    assert running.get("/v1/models")[0] == 404


def test_a_taken_port_is_an_error_and_leaves_no_thread() -> None:
    threads = threading.active_count()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        plane = ControlPlane("127.0.0.1", taken.getsockname()[1], view_of(Plane()), NOTHING)
        with pytest.raises(OSError, match="in use"):
            plane.start()
    assert threading.active_count() == threads


def test_the_end_leaves_no_thread() -> None:
    threads = threading.active_count()
    plane = ControlPlane("127.0.0.1", 0, view_of(Plane()), NOTHING)
    plane.start()
    assert repr(plane) == f"<ControlPlane http://127.0.0.1:{plane.port}>"
    plane.stop()
    assert threading.active_count() == threads


async def test_what_a_client_invents_never_becomes_a_label() -> None:
    invented = "invented-by-a-client"
    async with (
        SimulatedEngine("m", port=0) as engine,
        gateway({"m": remote(engine.address)}) as served,
        await served.wire() as wire,
    ):
        for model in (invented, "m"):
            await wire.request("POST", "/v1/chat/completions", {"model": model, "messages": [], "max_tokens": 1})
            await wire.response()
        await wire.request("GET", f"/{invented}")
        await wire.response()
        async with await Wire.connect_to(served.control) as control:
            await control.request("GET", "/metrics")
            text = (await control.response()).body.decode()
    assert invented not in text
    samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
    assert {sample.labels["model"] for sample in samples if "model" in sample.labels} == {"m", "unknown"}


def test_without_commands_there_are_none(running: Running) -> None:
    for path in ("/reload", "/replicas/m-0/drain", "/keys/alice/reset", "/groups/team/reset"):
        assert running.get(path)[0] == 404
