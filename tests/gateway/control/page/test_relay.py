"""What the playground asks reaches the API, streams come back as they are made, and one that leaves ends there too."""

from __future__ import annotations

import asyncio
import io
from hashlib import sha256
from pathlib import Path

import aiohttp
import pytest

from gateway.control.page.relay import Relay
from loadtest.simulator import SimulatedEngine, Timing
from loadtest.simulator.faults import Faults
from tests.kit.eventually import eventually
from tests.kit.gateways import gateway, remote

NOBODY = remote("http://127.0.0.1:1")

CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}


async def test_an_answer_comes_as_the_api_gives_it(tmp_path: Path) -> None:
    async with (
        SimulatedEngine("m", uds=tmp_path / "engine") as engine,
        gateway({"m": remote(engine.address)}) as served,
        aiohttp.ClientSession() as http,
    ):
        async with http.post(f"{served.control}/page/api/ask/v1/chat/completions", json=CHAT) as answer:
            relayed = await answer.json()
            assert answer.status == 200
            assert answer.headers["x-request-id"].startswith("req-")
            assert "default-src 'none'" in answer.headers["content-security-policy"]
        async with http.post(f"{served.address}/v1/chat/completions", json=CHAT) as answer:
            direct = await answer.json()
    assert relayed["choices"] == direct["choices"]


async def test_an_error_is_the_api_s_own(tmp_path: Path) -> None:
    async with (
        gateway({"m": NOBODY}, ready=[]) as served,
        aiohttp.ClientSession() as http,
        http.post(f"{served.control}/page/api/ask/v1/chat/completions", json=CHAT | {"model": "x"}) as answer,
    ):
        assert (answer.status, (await answer.json())["error"]["code"]) == (404, "model_not_found")


async def test_events_come_one_by_one_and_a_page_that_leaves_ends_its_request(tmp_path: Path) -> None:
    async with (
        SimulatedEngine("m", uds=tmp_path / "engine", timing=Timing(inter_token=0.05)) as engine,
        gateway({"m": remote(engine.address)}) as served,
    ):
        async with aiohttp.ClientSession() as http:
            body = CHAT | {"stream": True, "max_tokens": 100_000}
            async with http.post(f"{served.control}/page/api/ask/v1/chat/completions", json=body) as answer:
                assert answer.headers["content-type"].startswith("text/event-stream")
                assert (await answer.content.readline()).startswith(b"data: {")
                assert engine.running == 1
        await eventually(lambda: engine.running == 0)


async def test_the_key_that_a_person_types_is_the_one_that_counts(tmp_path: Path) -> None:
    keys = [{"id": "alice", "sha256": sha256(b"sk-alice").hexdigest()}]
    async with (
        SimulatedEngine("m", uds=tmp_path / "engine") as engine,
        gateway({"m": remote(engine.address)}, keys=keys) as served,
        aiohttp.ClientSession() as http,
    ):
        statuses = []
        for headers in ({}, {"x-api-key": "sk-mallory"}, {"x-api-key": "sk-alice"}):
            url = f"{served.control}/page/api/ask/v1/chat/completions"
            async with http.post(url, json=CHAT, headers=headers) as answer:
                statuses.append(answer.status)
    assert statuses == [401, 401, 200]


@pytest.mark.parametrize("path", ["v1/files", "v1/models", "metrics", "v1/chat/completions/../../files", ""])
async def test_no_other_path_is_passed_on(path: str) -> None:
    async with (
        gateway({"m": NOBODY}, ready=[]) as served,
        aiohttp.ClientSession() as http,
        http.post(f"{served.control}/page/api/ask/{path}", json={}) as answer,
    ):
        assert answer.status == 404


async def test_a_page_of_another_origin_asks_nothing() -> None:
    async with gateway({"m": NOBODY}, ready=[]) as served, aiohttp.ClientSession() as http:
        url = f"{served.control}/page/api/ask/v1/chat/completions"
        async with http.post(url, json=CHAT, headers={"origin": "https://evil.example"}) as answer:
            assert answer.status == 403


async def test_a_body_that_is_too_large_is_refused() -> None:
    async with gateway({"m": NOBODY}, ready=[]) as served, aiohttp.ClientSession() as http:
        url = f"{served.control}/page/api/ask/v1/chat/completions"
        async with http.post(url, data=io.BytesIO(b" " * 2_000_000)) as answer:
            assert answer.status == 413


async def test_only_so_many_are_passed_on_at_once(tmp_path: Path) -> None:
    async with (
        SimulatedEngine("m", uds=tmp_path / "engine", faults=Faults(silent=True)) as engine,
        gateway({"m": remote(engine.address)}) as served,
        aiohttp.ClientSession() as http,
    ):
        url = f"{served.control}/page/api/ask/v1/chat/completions"
        waiting = [asyncio.create_task(http.post(url, json=CHAT)) for _ in range(8)]
        await eventually(lambda: len(engine.requests) == 8)
        async with http.post(url, json=CHAT) as answer:
            assert answer.status == 503
            assert (await answer.json())["reason"] == "8 requests of the playground are under way"
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def test_the_repr_tells_how_many_are_under_way() -> None:
    assert repr(Relay()) == "<Relay [0 of 8]>"
