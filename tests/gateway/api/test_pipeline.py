"""From a whole request to a pool: the row, the key, the model, and the few fields that are the gateway's."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from gateway.pools.policies.policy import Routable
from gateway.pools.policies.prompt_blocks import Prompt, read_prompt
from gateway.pools.policies.round_robin import RoundRobin
from gateway.pools.replica import Replica
from loadtest.simulator import SimulatedEngine
from tests.kit.gateways import RunningGateway, gateway, remote
from tests.kit.playbook import Playbook, post
from tests.kit.scripted import whole
from tests.kit.wire import Response

CHAT = "/v1/chat/completions"
TALK = [{"role": "user", "content": "Hi"}]
KEYS = [
    {"id": "all", "sha256": sha256(b"sk-all").hexdigest()},
    {"id": "some", "sha256": sha256(b"sk-some").hexdigest(), "models": ["other"]},
]


@asynccontextmanager
async def one_engine(
    tmp_path: Path, options: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[tuple[SimulatedEngine, RunningGateway]]:
    async with SimulatedEngine("m", uds=tmp_path / "a") as engine:
        models = {"m": remote(engine.address, **(options or {})), "other": remote(f"unix:{tmp_path}/nobody")}
        async with gateway(models, ready=["m"], **settings) as running:
            yield engine, running


async def answer_to(running: RunningGateway, body: Any, path: str = CHAT, **headers: str) -> Response:
    async with await running.wire() as wire:
        await wire.request("POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        return await wire.response()


async def sent(running: RunningGateway, engine: SimulatedEngine, **fields: Any) -> dict[str, Any]:
    """Ask, and return the body that the engine got."""
    assert (await answer_to(running, {"model": "m", "messages": TALK} | fields)).status == 200
    body: dict[str, Any] = json.loads(engine.requests[-1].body)
    return body


async def test_the_keys_of_openai_and_anthropic_open_the_same_door(tmp_path: Path) -> None:
    async with one_engine(tmp_path, keys=KEYS) as (_, running):
        body = {"model": "m", "messages": TALK, "max_tokens": 1}
        assert (await answer_to(running, body, authorization="Bearer sk-all")).status == 200
        assert (await answer_to(running, body, "/v1/messages", x_api_key="sk-all")).status == 200
        for headers in ({}, {"authorization": "Bearer sk-wrong"}, {"authorization": "Basic c2s="}, {"x-api-key": ""}):
            refused = await answer_to(running, body, **headers)
            assert (refused.status, refused.json["error"]["code"]) == (401, "invalid_api_key")
        forbidden = await answer_to(running, body, authorization="Bearer sk-some")
        assert (forbidden.status, forbidden.json["error"]["code"]) == (403, "model_not_allowed")


async def test_fields_that_reach_into_the_engine_are_taken_out(tmp_path: Path) -> None:
    async with one_engine(tmp_path) as (engine, running):
        body = await sent(running, engine, kv_transfer_params={"remote_host": "10.0.0.1"}, priority=-5, top_k=3)
        assert body == {"model": "m", "messages": TALK, "top_k": 3}


async def test_priority_passes_where_the_model_says_so(tmp_path: Path) -> None:
    async with one_engine(tmp_path, {"send_priority": True}) as (engine, running):
        assert (await sent(running, engine, priority=-5))["priority"] == -5


async def test_each_key_gets_a_prefix_cache_of_its_own_where_the_model_says_so(tmp_path: Path) -> None:
    async with one_engine(tmp_path, {"cache_salt": True}, keys=KEYS) as (engine, running):
        body = {"model": "m", "messages": TALK, "cache_salt": "chosen by the client"}
        assert (await answer_to(running, body, authorization="Bearer sk-all")).status == 200
        assert json.loads(engine.requests[-1].body)["cache_salt"] == "all"


async def test_errors_of_messages_are_in_anthropics_shape(tmp_path: Path) -> None:
    async with one_engine(tmp_path) as (_, running):
        refused = await answer_to(running, {"model": "nobody"}, "/v1/messages")
        assert refused.status == 404
        assert refused.json["type"] == "error"
        assert refused.json["error"]["type"] == "not_found_error"


async def test_the_query_goes_on_to_the_engine(tmp_path: Path) -> None:
    async with one_engine(tmp_path) as (engine, running):
        await answer_to(running, {"model": "m", "messages": TALK}, CHAT + "?a=b%20c")
        assert engine.requests[-1].path == CHAT + "?a=b%20c"


async def test_a_form_keeps_its_file_byte_for_byte_and_gets_the_models_real_name(tmp_path: Path) -> None:
    form = (
        b'--x\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\n\x00\xff--RIFF\r\n'
        b'--x\r\ncontent-disposition: form-data; name="model"\r\n\r\nalias\r\n--x--\r\n'
    )
    async with one_engine(tmp_path, {"aliases": ["alias"]}) as (engine, running):
        path, media = "/v1/audio/transcriptions", {"content_type": "multipart/form-data; boundary=x"}
        assert (await answer_to(running, form, path, **media)).status == 200
        assert engine.requests[-1].body == form.replace(b"alias", b"m")


@pytest.mark.parametrize("origin", ["https://chat.example.com", "https://evil.example.com"])
async def test_only_the_pages_of_configured_origins_may_read_answers(tmp_path: Path, origin: str) -> None:
    async with one_engine(tmp_path, cors_origins=["https://chat.example.com"]) as (_, running):
        allowed = origin if origin == "https://chat.example.com" else None
        answer = await answer_to(running, {"model": "m", "messages": TALK}, origin=origin)
        assert answer.header("access-control-allow-origin") == allowed
        async with await running.wire() as wire:
            await wire.request("OPTIONS", CHAT, headers={"origin": origin, "access-control-request-method": "POST"})
            preflight = await wire.response()
        assert preflight.header("access-control-allow-origin") == allowed


async def test_a_page_may_send_the_headers_of_its_sdk_and_read_what_the_sdk_acts_on(tmp_path: Path) -> None:
    origin = "https://chat.example.com"
    sent = "authorization,content-type,x-stainless-os,x-stainless-retry-count"
    async with one_engine(tmp_path, cors_origins=[origin]) as (_, running), await running.wire() as wire:
        await wire.request("OPTIONS", CHAT, headers={"origin": origin, "access-control-request-headers": sent})
        preflight = await wire.response()
        assert (preflight.status, preflight.header("access-control-allow-headers")) == (200, sent)
        answer = await answer_to(running, {"model": "m", "messages": TALK}, origin=origin)
        exposed = (answer.header("access-control-expose-headers") or "").split(", ")
        assert {"retry-after-ms", "x-ratelimit-reset-tokens", "anthropic-ratelimit-tokens-reset"} <= set(exposed)
        assert {"x-should-retry", "x-headgate-model", "x-headgate-fallback"} <= set(exposed)
        assert answer.header("vary") == "origin"


async def test_without_configured_origins_no_page_may(tmp_path: Path) -> None:
    async with one_engine(tmp_path) as (_, running):
        answer = await answer_to(running, {"model": "m", "messages": TALK}, origin="https://chat.example.com")
        assert answer.header("access-control-allow-origin") is None
        async with await running.wire() as wire:
            await wire.request("OPTIONS", CHAT, headers={"origin": "https://chat.example.com"})
            assert (await wire.response()).status == 405


def remote_pair(tmp_path: Path) -> dict[str, Any]:
    return {
        "models": {"ok": remote(f"unix:{tmp_path}/a"), "top-secret": remote(f"unix:{tmp_path}/a", aliases=["hidden"])},
        "keys": [{"id": "bob", "sha256": sha256(b"sk-bob").hexdigest(), "models": ["ok"]}],
    }


@pytest.mark.parametrize("name", ["nope", "hidden", "top-secret"])
async def test_a_key_learns_nothing_of_names_that_it_may_not_use(tmp_path: Path, name: str) -> None:
    made = remote_pair(tmp_path)
    async with gateway(made["models"], ready=[], keys=made["keys"]) as running, await running.wire() as wire:
        await wire.request("POST", CHAT, {"model": name}, {"authorization": "Bearer sk-bob"})
        refused = await wire.response()
    assert (refused.status, refused.json["error"]["code"]) == (403, "model_not_allowed")
    told = refused.json["error"]["message"]
    assert told == f"The key 'bob' may not use a model {name!r}; it may use: ok."


async def test_a_moderation_may_leave_the_model_out(tmp_path: Path) -> None:
    async with SimulatedEngine("m", uds=tmp_path / "a") as engine:
        models = {"chat": remote(engine.address, tasks=["generate"]), "m": remote(engine.address, tasks=["moderate"])}
        async with gateway(models) as running, await running.wire() as wire:
            await wire.request("POST", "/v1/moderations", {"input": "x"})
            await wire.response()
        assert json.loads(engine.requests[-1].body) == {"input": "x", "model": "m"}


async def test_where_no_model_can_moderate_the_model_is_missing() -> None:
    models = {"m": remote("http://127.0.0.1:1", tasks=["generate"])}
    async with gateway(models, ready=[]) as running, await running.wire() as wire:
        await wire.request("POST", "/v1/moderations", {"input": "x"})
        refused = await wire.response()
    assert (refused.status, refused.json["error"]["param"]) == (400, "model")


async def test_responses_of_messages_name_their_request_as_anthropics_do(tmp_path: Path) -> None:
    async with one_engine(tmp_path) as (_, running), await running.wire() as wire:
        for body in ({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}, {"model": "no"}):
            await wire.request("POST", "/v1/messages", body)
            response = await wire.response()
            assert response.header("request-id") == response.header("x-request-id")


async def test_a_trailing_slash_is_no_other_path(tmp_path: Path) -> None:
    async with one_engine(tmp_path) as (engine, running), await running.wire() as wire:
        await wire.request("POST", f"{CHAT}/?a=b", {"model": "m", "messages": []})
        await wire.response()
        assert engine.requests[-1].path == f"{CHAT}?a=b"


async def test_a_refused_upload_can_be_read_by_a_page() -> None:
    origin = "https://chat.example.com"
    async with gateway({"m": remote("http://127.0.0.1:1")}, ready=[], cors_origins=[origin]) as running:
        async with await running.wire() as wire:
            await wire.send(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\norigin: https://chat.example.com\r\n"
                b"content-type: application/json\r\ncontent-length: 99999999\r\n\r\n{"
            )
            refused = await wire.response()
        assert (refused.status, refused.header("access-control-allow-origin")) == (413, origin)
        assert 'endpoint="/v1/chat/completions"' in await running.metrics()


TRACE_ID = b"4bf92f3577b34da6a3ce929d0e0e4736"


def told(asked: bytes) -> list[bytes]:
    """Return what an engine gets to know of a trace."""
    return [line for line in asked.split(b"\r\n") if line.startswith(b"trace")]


async def test_the_trace_of_a_client_goes_on_to_the_engine_as_it_is() -> None:
    play = Playbook()
    lines = [b"traceparent: 00-%b-00f067aa0ba902b7-01" % TRACE_ID, b"tracestate: a=1"]
    play.client.sends(post(headers=b"%b\r\n%b\r\n" % (lines[0], lines[1])))
    assert told(play.last_asked.line.got()) == lines


@pytest.mark.parametrize("given", [b"", b"tracestate: a=1\r\n", b"traceparent: 00-1-2-01\r\ntracestate: a=1\r\n"])
async def test_without_a_valid_trace_each_request_begins_one_that_is_not_recorded(given: bytes) -> None:
    play, traces = Playbook(), set()
    for _ in range(3):
        play.client.sends(post(headers=given))
        (line,) = told(play.last_asked.line.got())
        assert re.fullmatch(rb"traceparent: 00-[0-9a-f]{32}-[0-9a-f]{16}-00", line)
        traces.add(line)
        play.last_asked.says(whole(b"{}"))
    assert len(traces) == 3


async def test_a_retry_belongs_to_the_same_trace() -> None:
    play = Playbook(engines=2)
    play.client.sends(post())
    first = told(play.last_asked.line.got())
    play.last_asked.says(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")
    assert sorted(play.asked) == [0, 1]
    assert told(play.last_asked.line.got()) == first


async def test_reasons_are_not_asked_of_an_engine_that_would_leave_them_out_without_a_word() -> None:
    play = Playbook()
    (model,) = play.pipeline.registry.models
    model.explains = False
    for explain in (True, {"label": "bad"}):
        play.client.sends(post("/classify", input="Hi", explain=explain))
        refused = play.client.got()
        assert refused.startswith(b"HTTP/1.1 400 ")
        assert json.loads(refused.partition(b"\r\n\r\n")[2])["error"] == {
            "message": "The engine of the model 'm' does not explain its classes; ONNX classifiers do.",
            "type": "invalid_request_error",
            "param": "explain",
            "code": "unsupported_parameter",
        }
    assert play.asked == []
    for nothing in (False, None):
        play.client.sends(post("/classify", input="Hi", explain=nothing))
        play.last_asked.says(whole(b"{}"))
        assert play.client.got().startswith(b"HTTP/1.1 200 ")
    model.explains = True
    play.client.sends(post("/classify", input="Hi", explain=True))
    play.last_asked.says(whole(b"{}"))
    assert play.client.got().startswith(b"HTTP/1.1 200 ")


class ReadsPrompts(RoundRobin):
    """Takes turns, and keeps the prompts that it has read."""

    def __init__(self) -> None:
        super().__init__()
        self.prompts: list[Prompt] = []

    def pick(self, candidates: Sequence[Replica], request: Routable) -> Replica:
        self.prompts.append(request.prompt)
        return super().pick(candidates, request)


@pytest.mark.parametrize("salted", [False, True])
async def test_a_policy_reads_the_prompt_that_the_engine_gets(*, salted: bool) -> None:
    secrets = ("one", "other")
    play = Playbook(engines=2, keys=[{"id": each, "sha256": sha256(each.encode()).hexdigest()} for each in secrets])
    play.pipeline.registry.find("m").cache_salt = salted
    policy = ReadsPrompts()
    play.pool.set_policy(policy)
    got = []
    for each in secrets:
        client = play.new_client()
        talk = [{"role": "user", "content": "What is a prefix cache? " * 100}]
        client.sends(post(CHAT, headers=b"authorization: Bearer %b\r\n" % each.encode(), messages=talk))
        got.append(play.last_asked.line.got().partition(b"\r\n\r\n")[2])
    assert policy.prompts == [read_prompt(body) for body in got]
    assert (policy.prompts[0] == policy.prompts[1]) is not salted
