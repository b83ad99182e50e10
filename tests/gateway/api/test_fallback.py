"""Another model answers where the one that was named cannot, and the response says so."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any

import pytest

from gateway.api.fallback import may_fall_back
from gateway.core.errors import (
    BadRequest,
    EngineRefusal,
    GatewayError,
    GatewayOverloaded,
    NoReadyReplica,
    QueueTimeout,
    ShuttingDown,
    UpstreamFailed,
    UpstreamTimeout,
)
from gateway.pools.replica import ReplicaState
from tests.kit.eventually import eventually
from tests.kit.gateways import RunningGateway, gateway, remote
from tests.kit.scripted import ScriptedEngine, scripted_engine, whole
from tests.kit.wire import Response, Wire

CHAT = "/v1/chat/completions"
NOWHERE = "http://127.0.0.1:1"
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
TOO_LONG = {"message": "The prompt has 9000 tokens, the model takes 4096.", "code": "context_length_exceeded"}


def said(by: str) -> bytes:
    return whole(json.dumps({"id": "1", "model": by, "choices": [{"message": {"content": f"I am {by}."}}]}).encode())


def refused(status: bytes, **error: Any) -> bytes:
    return whole(json.dumps({"error": {"type": "x", **error}}).encode(), status)


class Two:
    """A big model that falls back to a small one, and the engines of both."""

    def __init__(self, running: RunningGateway, big: ScriptedEngine, small: ScriptedEngine) -> None:
        self.running = running
        self.big = big
        self.small = small

    async def ask(self, path: str = CHAT, headers: dict[str, str] | None = None, **fields: Any) -> Response:
        async with await self.running.wire() as wire:
            await ask(wire, path, headers, **fields)
            return await wire.response()


async def ask(wire: Wire, path: str = CHAT, headers: dict[str, str] | None = None, **fields: Any) -> None:
    body = {"model": "big", "messages": [{"role": "user", "content": "Who are you?"}], **fields}
    await wire.request("POST", path, body, headers or {})


@asynccontextmanager
async def two(
    *, big: dict[str, Any] | None = None, small: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[Two]:
    async with scripted_engine() as first, scripted_engine() as second:
        first.answer, second.answer = [said("big")], [said("small")]
        models = {
            "big": remote(first.url, fallback=["small"], **(big or {})),
            "small": remote(second.url, upstream_model="small-v2", **(small or {})),
        }
        async with gateway(models, **settings) as running:
            yield Two(running, first, second)


async def test_a_model_that_can_answer_does() -> None:
    async with two() as here:
        answer = await here.ask()
        assert (answer.json["model"], answer.header("x-headgate-fallback")) == ("big", None)
        assert not here.small.bodies


@pytest.mark.parametrize(
    "answer",
    [
        refused(b"500 Internal Server Error", message="The engine is dead."),
        refused(b"503 Service Unavailable", message="The queue is full."),
        refused(b"429 Too Many Requests", message="Later."),
        refused(b"400 Bad Request", **TOO_LONG),
    ],
    ids=["failed", "full", "limited", "too long"],
)
async def test_a_model_that_fails_is_replaced_and_the_response_says_by_which(answer: bytes) -> None:
    async with two() as here:
        here.big.answer = [answer]
        response = await here.ask()
        assert (response.status, response.json["model"]) == (200, "small")
        assert response.header("x-headgate-fallback") == "small"
        assert json.loads(here.small.bodies[0])["model"] == "small-v2"
        metrics = await here.running.metrics()
        assert 'headgate_fallbacks_total{model="big",to="small"} 1.0' in metrics
        assert 'headgate_requests_total{code="200",endpoint="/v1/chat/completions",model="small"} 1.0' in metrics


async def test_a_wrong_request_is_told_so_and_asked_of_nobody_else() -> None:
    async with two() as here:
        here.big.answer = [refused(b"400 Bad Request", message="temperature is too high")]
        response = await here.ask()
        assert (response.status, response.json["error"]["message"]) == (400, "temperature is too high")
        assert not here.small.bodies


async def test_a_model_without_a_ready_replica_is_replaced_at_once() -> None:
    async with scripted_engine() as engine:
        engine.answer = [said("small")]
        models = {
            "big": remote(NOWHERE, fallback=["gone", "small"]),
            "gone": remote(NOWHERE),
            "small": remote(engine.url),
        }
        async with gateway(models, ready=["small"]) as running, await running.wire() as wire:
            await ask(wire)
            response = await wire.response()
            assert (response.status, response.header("x-headgate-fallback")) == (200, "small")


async def test_the_last_model_is_waited_for_until_it_has_a_replica() -> None:
    async with scripted_engine() as engine:
        models = {
            "big": remote(NOWHERE, fallback=["small"]),
            "small": remote(engine.url),
        }
        async with gateway(models, ready=["small"]) as running, await running.wire() as wire:
            (small,) = running.gateway.plane.registry.pools[1].replicas
            engine.answer = [said("small")]
            small.set_state(ReplicaState.RESTARTING)
            await ask(wire)
            # Its next probe finds it well.
            response = await wire.response()
            assert (response.status, response.header("x-headgate-fallback")) == (200, "small")


async def test_where_nobody_can_answer_the_last_error_is_told() -> None:
    async with two() as here:
        here.big.answer = [refused(b"500 Internal Server Error", message="The big one is dead.")]
        here.small.answer = [refused(b"500 Internal Server Error", message="The small one too.")]
        response = await here.ask()
        assert response.status == 502
        assert response.json["error"]["message"] == "The small one too."


async def test_a_full_queue_spills_over() -> None:
    async with two(big={"max_in_flight": 1, "max_queue": 0}) as here:
        here.big.answer = [said("big")[:20], said("big")[20:]]
        async with await here.running.wire() as first:
            await ask(first)
            await here.big.said_so_far()
            assert (await here.ask()).json["model"] == "small"
            here.big.go_on()
            assert (await first.response()).json["model"] == "big"


async def test_what_waits_for_a_slot_falls_back_when_no_replica_is_left() -> None:
    async with two(big={"max_in_flight": 1, "health_interval": 60.0}) as here:
        here.big.answer = [said("big")[:20], said("big")[20:]]
        async with await here.running.wire() as first, await here.running.wire() as second:
            await ask(first)
            await here.big.said_so_far()
            await ask(second)
            await eventually(lambda: "1 queued" in repr(here.running.gateway.plane.registry.pools[0]))
            (replica,) = here.running.gateway.plane.registry.pools[0].replicas
            replica.set_state(ReplicaState.RESTARTING)
            assert (await second.response()).json["model"] == "small"
            here.big.go_on()
            assert (await first.response()).json["model"] == "big"


async def test_a_stream_falls_back_before_it_has_begun_and_not_later() -> None:
    event = b'data: {"id":"1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
    chunk = b"%x\r\n%b\r\n" % (len(event), event)
    async with two() as here:
        here.small.answer = [STREAM + chunk + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"]
        here.big.answer = [refused(b"500 Internal Server Error", message="Dead.")]
        async with await here.running.wire() as wire:
            await ask(wire, stream=True)
            assert (await wire.head()).header("x-headgate-fallback") == "small"
            assert [each async for each in wire.events()][-1] == b"data: [DONE]"
        here.big.answer, here.big.closes = [STREAM + chunk], True
        async with await here.running.wire() as wire:
            await ask(wire, stream=True)
            assert (await wire.head()).header("x-headgate-fallback") is None
            *_, error, done = [each async for each in wire.events()]
            assert (b'"error"' in error, done) == (True, b"data: [DONE]")


async def test_a_key_falls_back_to_the_models_that_it_may_use() -> None:
    keys = [{"id": "a", "sha256": sha256(b"secret").hexdigest(), "models": ["big"]}]
    async with two(keys=keys) as here:
        here.big.answer = [refused(b"500 Internal Server Error", message="Dead.")]
        assert (await here.ask(headers={"authorization": "Bearer secret"})).status == 502
        assert not here.small.bodies


async def test_a_model_that_cannot_do_the_task_takes_no_place() -> None:
    async with two(small={"tasks": ["embed"]}) as here:
        here.big.answer = [refused(b"500 Internal Server Error", message="Dead.")]
        assert (await here.ask()).status == 502


async def test_a_client_that_leaves_stops_the_model_that_is_asked_now() -> None:
    async with two() as here:
        here.big.answer = [refused(b"500 Internal Server Error", message="Dead.")]
        here.small.answer = [b"HTTP/1.1 200 OK\r\n", b"never"]
        async with await here.running.wire() as wire:
            await ask(wire)
            await here.small.said_so_far()
        await eventually(lambda: all("0 in flight" in repr(pool) for pool in here.running.gateway.plane.registry.pools))
        assert "client_left" in await here.running.metrics()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (NoReadyReplica("x"), True),
        (QueueTimeout("x"), True),
        (UpstreamFailed("x"), True),
        (UpstreamTimeout("x"), True),
        (EngineRefusal(400, "x", code="context_length_exceeded"), True),
        (EngineRefusal(400, "x"), False),
        (BadRequest("x"), False),
        (ShuttingDown("x"), False),
        (GatewayOverloaded("x"), False),
    ],
)
def test_what_another_model_may_do_better(error: GatewayError, expected: bool) -> None:
    assert may_fall_back(error) is expected


async def test_a_request_that_another_model_answers_counts_once_in_the_limits_of_its_key() -> None:
    limits = {"requests_per_minute": 10, "max_in_flight": 1}
    key = {"id": "alice", "sha256": sha256(b"sk-alice").hexdigest(), "limits": limits}
    async with two(keys=[key]) as here:
        here.big.answer = [refused(b"503 Service Unavailable", message="The queue is full.")]
        for left in ("9", "8"):
            answer = await here.ask(headers={"authorization": "Bearer sk-alice"})
            assert (answer.status, answer.json["model"]) == (200, "small")
            assert answer.header("x-headgate-fallback") is not None
            assert answer.header("x-ratelimit-remaining-requests") == left
