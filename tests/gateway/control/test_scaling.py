"""Operators see how a model is scaled and why nothing happens, and fix the number of its replicas."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from gateway.control.scaling import TokenCounts, scaling_of
from gateway.pools.replica import ReplicaState
from gateway.scaling.decide import ScalingRule
from gateway.scaling.scaler import ScaledModel
from tests.gateway.pools.made import pool, replica
from tests.kit.eventually import eventually
from tests.kit.gateways import RunningGateway, gateway, remote
from tests.kit.waiters import Waiter
from tests.kit.wire import Response, Wire

NO_TOKENS = TokenCounts(per_request=0.0, per_second=0.0)


def scaled(*replicas: str, desired: int) -> ScaledModel:
    made = pool("m", *(replica(name, ready=False) for name in replicas))
    return ScaledModel("m", ScalingRule(0, 4, 8.0, 300.0), made, desired)


def test_a_model_at_zero_shows_who_is_held_for_its_start() -> None:
    model = scaled("m-0", desired=1)
    model.start_seconds = 4.2
    model.pool.set_waits(30.0, None)
    for _ in range(3):
        model.pool.admission.admit(Waiter())
    shown = scaling_of(model, NO_TOKENS)
    assert (shown["demand"], shown["held"], shown["starting"], shown["ready"]) == (3, 3, 1, 0)
    assert shown["waits_for"] == "m-0 to start, which took 4.2 s the last time"
    model.pool.replicas[0].set_state(ReplicaState.READY)
    shown = scaling_of(model, NO_TOKENS)
    assert (shown["held"], shown["starting"], shown["ready"], shown["waits_for"]) == (0, 0, 1, "")


def test_tokens_are_demanded_as_fast_as_requests_come_and_served_as_fast_as_they_end() -> None:
    model = scaled("m-0", desired=1)
    for moment in range(11):
        model.history.served(float(moment), running=0, waiting=20 * moment, answers=0)
    shown = scaling_of(model, TokenCounts(per_request=150.0, per_second=40.0))
    assert (shown["arrival_rate"], shown["tokens_demanded"], shown["tokens_served"]) == (20.0, 3000.0, 40.0)


def test_replicas_are_told_by_each_state_and_decisions_by_each_reason_also_where_there_are_none() -> None:
    shown = scaling_of(scaled("m-0", "m-1", desired=2), NO_TOKENS)
    assert shown["states"] == dict.fromkeys(ReplicaState, 0) | {ReplicaState.STARTING: 2}
    reasons = {"demand", "panic", "from_zero", "min", "max", "surplus", "idle", "evicted", "operator"}
    assert shown["decisions_by_reason"] == dict.fromkeys(reasons, 0)


def test_why_nothing_happens_is_told() -> None:
    model = scaled("m-0", "m-1", desired=3)
    model.waits_for = "1 for each replica, and 0 of 2 GPUs free"
    model.pool.replicas[0].set_state(ReplicaState.RESTARTING, "out of memory")
    assert scaling_of(model, NO_TOKENS)["waits_for"] == (
        "room for one more: 1 for each replica, and 0 of 2 GPUs free; m-0 is restarting: out of memory; m-1 to start"
    )
    model.pool.replicas[0].set_state(ReplicaState.PENDING, "no node has a GPU free")
    assert "; m-0 is pending: no node has a GPU free; m-1" in scaling_of(model, NO_TOKENS)["waits_for"]
    model.pool.replicas[0].set_state(ReplicaState.PENDING)
    assert "; m-0 is pending: no more is known; m-1" in scaling_of(model, NO_TOKENS)["waits_for"]
    model.desired = 2
    assert scaling_of(model, NO_TOKENS)["waits_for"] == "m-0 is pending: no more is known; m-1 to start"


async def control(running: RunningGateway, method: str, path: str, body: Any = None) -> Response:
    async with await Wire.connect_to(running.control) as wire:
        await wire.request(method, path, body)
        return await wire.response()


async def status(running: RunningGateway, model: str) -> Any:
    shown = (await control(running, "GET", "/status")).json["models"]
    return next(each for each in shown if each["model"] == model)


def local(**options: Any) -> dict[str, Any]:
    """Configure a model whose files there are not: its engine takes its room, and fails."""
    return {"engine": "onnx", "source": "/nowhere/at/all", "tasks": ["embed"], **options}


async def test_a_number_that_an_operator_fixes_is_shown_with_what_it_waits_for() -> None:
    models = {"full": local(), "m": local(scaling={"min": 0, "max": 2}, hold=30.0)}
    async with gateway(models, ready=(), cpu_engines=1) as running:
        at_zero = (await status(running, "m"))["scaling"]
        assert (at_zero["min"], at_zero["max"], at_zero["target"], at_zero["fixed"]) == (0, 2, 8.0, False)
        assert (at_zero["desired"], at_zero["waits_for"], at_zero["decisions"]) == (0, "", [])
        done = await control(running, "POST", "/models/m/scale", {"replicas": 2})
        assert (done.status, done.json["status"], done.json["scaling"]["desired"]) == (200, "scaled", 2)
        scaler = running.gateway.view.local_models()["m"]
        assert scaler is not None
        await eventually(lambda: scaler.waits_for != "")
        shown = (await status(running, "m"))["scaling"]
        assert (shown["fixed"], shown["desired"], shown["reason"]) == (True, 2, "operator")
        assert shown["waits_for"] == "room for one more: cpu_engines = 1, and so many run"
        assert [(each["from"], each["to"], each["reason"]) for each in shown["decisions"]] == [(0, 2, "operator")]
        assert (shown["decisions_by_reason"]["operator"], shown["states"]["starting"]) == (1, 0)
        assert 'headgate_scaling_decisions_total{model="m",reason="operator"} 1' in await running.metrics()
        async with aiohttp.ClientSession() as http, http.get(f"{running.control}/page/api/model?name=m") as answer:
            page = await answer.json()
        assert page["scaling"]["desired"] == 2
        assert [(each["what"], each["reason"]) for each in page["decisions"] if each["kind"] == "scaling"] == [
            ("no room for a replica", "cpu_engines = 1, and so many run"),
            ("0 → 2 replicas", "operator: an operator asked for this number"),
        ]
        assert (await control(running, "POST", "/models/m/scale", {"replicas": 0})).json["scaling"]["fixed"] is False


async def test_a_model_without_scaling_is_fixed_and_let_go() -> None:
    async with gateway({"m": local(replicas=2)}, ready=()) as running:
        assert "scaling" not in await status(running, "m")
        assert (await control(running, "POST", "/models/m/scale", {"replicas": 1})).json["scaling"]["desired"] == 1
        await eventually(lambda: len(running.gateway.plane.registry.models[0].pool.replicas) == 1)
        done = await control(running, "POST", "/models/m/scale", {"replicas": None})
        assert done.json == {"status": "scaled", "scaling": None}
        await eventually(lambda: len(running.gateway.plane.registry.models[0].pool.replicas) == 2)


@pytest.mark.parametrize(
    ("model", "body", "status", "said"),
    [
        ("m", {"replicas": 65}, 400, "Expected `int` <= 64 - at `$.replicas`"),
        ("m", {"replicas": 1.5}, 400, "Expected `int | null`, got `float` - at `$.replicas`"),
        ("m", {"number": 1}, 400, "Object contains unknown field `number`"),
        ("m", {}, 400, "Object missing required field `replicas`"),
        ("m", {"replicas": 0}, 400, "Without any replica 'm' could not be asked: only one with scaling.min = 0 is wo"),
        ("there", {"replicas": 1}, 400, "The replicas of 'there' run elsewhere, and are scaled by what runs them."),
        ("org/x", {"replicas": 1}, 404, "There is no model 'org/x' of this configuration; those whose engines run her"),
    ],
)
async def test_orders_that_cannot_be_obeyed_say_why(model: str, body: Any, status: int, said: str) -> None:
    models = {"m": local(), "there": remote("http://127.0.0.1:1", tasks=["generate"])}
    async with gateway(models, ready=()) as running:
        refused = await control(running, "POST", f"/models/{model}/scale", body)
        assert (refused.status, refused.json["status"]) == (status, "not scaled")
        assert refused.json["reason"].startswith(said)
        assert running.gateway.view.local_models() == {"m": None}
