"""What an engine is asked."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway.api.dialects.completions import Plain
from gateway.core.context import RequestContext, RequestHead
from gateway.exchange.upstream_request import UpstreamRequest
from gateway.pools.policies.prompt_blocks import read_prompt
from loadtest.simulator import SimulatedEngine
from tests.gateway.exchange.asking import answer_to, ask, one_engine
from tests.kit.gateways import gateway, remote


def asked_for(body: bytes, **headers: str) -> UpstreamRequest:
    named = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    context = RequestContext(RequestHead("", headers=named))
    return UpstreamRequest(context, body, Plain(), streams=False, strip_usage=False, max_tokens=0, hedges=False)


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (b'{"user":"u","prompt_cache_key":"k"}', {"x_session_id": "s"}, b"s"),
        (b'{"user":"u","prompt_cache_key":"k"}', {}, b'"k"'),
        (b'{"user":"u","prompt_cache_key":null}', {"x_session_id": ""}, b'"u"'),
        (b'{"user":"","messages":[]}', {"session": "s"}, b""),
        (b'{"user":7}', {}, b"7"),
        (b"--boundary\r\nuser", {}, b""),
        (b'{"user":"\xff"}', {}, b'"\xff"'),
    ],
)
def test_a_session_is_named_by_a_header_else_by_the_cache_key_else_by_the_user(
    body: bytes, headers: dict[str, str], expected: bytes
) -> None:
    assert asked_for(body, **headers).session_key(b"x-session-id") == expected


def test_the_prompt_is_read_once_and_from_what_the_engine_gets() -> None:
    request = asked_for(b'{"model":"m","prompt":"%b"}' % (b"word" * 300))
    assert request.prompt.tokens == 300
    assert len(request.prompt.blocks) == 1
    assert request.prompt is request.prompt
    assert request.prompt == read_prompt(request.body)


async def test_the_turns_of_a_conversation_go_to_one_replica_where_the_model_generates(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        engines = [await stack.enter_async_context(SimulatedEngine("m", uds=tmp_path / str(n))) for n in range(4)]
        models = {"m": remote(*(engine.address for engine in engines), tasks=["generate"])}
        running = await stack.enter_async_context(gateway(models))
        await running.gateway.fleet.settle()
        for number in range(12):
            before = [len(engine.requests) for engine in engines]
            turns = [{"role": "user", "content": f"Question {number}. " * 100}]
            for stream in (False, True, False):
                assert (await answer_to(running, ask(messages=turns, stream=stream))).status == 200
                turns += [{"role": "assistant", "content": "Yes."}, {"role": "user", "content": "Why?"}]
            served = [len(engine.requests) - had for engine, had in zip(engines, before, strict=True)]
            assert sorted(served) == [0, 0, 0, 3]
        assert all(engine.requests for engine in engines)


async def test_the_requests_of_a_session_go_to_one_replica(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        engines = [await stack.enter_async_context(SimulatedEngine("m", uds=tmp_path / str(n))) for n in range(4)]
        options = {"policy": "session", "session_header": "X-Chat"}
        models = {"m": remote(*(engine.address for engine in engines), **options)}
        running = await stack.enter_async_context(gateway(models))
        await running.gateway.fleet.settle()
        for number in range(8):
            before = [len(engine.requests) for engine in engines]
            for _ in range(3):
                assert (await answer_to(running, ask(), x_chat=f"session {number}")).status == 200
                assert (await answer_to(running, ask(user=f"user {number}"))).status == 200
            served = [len(engine.requests) - had for engine, had in zip(engines, before, strict=True)]
            assert sorted(filter(None, served)) in ([6], [3, 3])


async def test_the_engine_gets_the_body_byte_for_byte_and_few_headers(tmp_path: Path) -> None:
    async with one_engine(tmp_path) as (engine, running):
        body = b' { "model":"m" ,"messages":[{"role":"user","content":"\\u00e9"}],"max_tokens":1,"new":[1.0, 2e5]} '
        answer = await answer_to(
            running,
            body,
            content_type="application/json; charset=utf-8",
            authorization="Bearer secret",
            cookie="a=b",
            x_forwarded_for="10.0.0.1",
            x_data_parallel_rank="3",
            traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03",
            x_request_id="mine",
            connection="keep-alive, x-named",
            x_named="yes",
        )
        assert answer.status == 200
        assert answer.header("x-request-id") == "mine"
        received = engine.requests[-1]
        assert received.body == body
        assert sorted(received.header_names()) == [
            "accept-encoding",
            "content-length",
            "content-type",
            "host",
            "traceparent",
            "x-request-id",
        ]
        assert received.header("x-request-id") == "mine"
        assert received.header("content-type") == "application/json; charset=utf-8"


async def test_a_remote_engine_gets_its_own_name_and_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_KEY", "sk-engine")
    options = {"upstream_model": "theirs", "api_key_env": "ENGINE_KEY", "aliases": ["ours"]}
    async with (
        SimulatedEngine("theirs", uds=tmp_path / "a") as engine,
        gateway({"m": remote(engine.address, **options)}) as running,
    ):
        for name in ("m", "ours"):
            assert (await answer_to(running, ask(model=name), authorization="Bearer x")).status == 200
            assert json.loads(engine.requests[-1].body) == ask(model="theirs")
            assert engine.requests[-1].header("authorization") == "Bearer sk-engine"


@pytest.mark.parametrize(
    ("max_tokens", "hedges", "tokens"),
    [
        (300, False, 100 + 300),
        # What a response may have that nothing limits is assumed.
        (0, False, 100 + 512),
        (0, True, 100),
    ],
)
def test_a_request_counts_with_its_prompt_and_with_the_answer_that_it_may_have(
    max_tokens: int, hedges: bool, tokens: int
) -> None:
    context = RequestContext(RequestHead(""))
    request = UpstreamRequest(
        context, b"x" * 400, Plain(), streams=False, strip_usage=False, max_tokens=max_tokens, hedges=hedges
    )
    assert request.tokens == tokens


def test_a_picture_counts_as_a_thousand_tokens_however_many_bytes_it_has() -> None:
    url = '{"type":"image_url","image_url":{"url":"data:image/png;base64,' + "A" * 4_000_000 + '"}}'
    picture = asked_for(f'{{"messages":[{{"role":"user","content":[{url}]}}]}}'.encode())
    assert 1_000 + 512 < picture.tokens < 1_100 + 512
