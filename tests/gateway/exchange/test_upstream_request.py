"""What an engine is asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadtest.simulator import SimulatedEngine
from tests.gateway.exchange.asking import answer_to, ask, one_engine
from tests.kit.gateways import gateway, remote


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
            traceparent="00-1-2-03",
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
