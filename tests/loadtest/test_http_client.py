"""Requests go over TCP and over a Unix socket, connections are kept, and a failure says why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from loadtest.http_client import HttpClient, HttpError, fetch
from loadtest.simulator import Faults, SimulatedEngine


async def test_a_body_is_fetched_at_either_kind_of_address(tmp_path: Path) -> None:
    async with SimulatedEngine("m") as tcp, SimulatedEngine("m", uds=tmp_path / "s") as unix:
        for url in (tcp.address, f"{tcp.address}/v1", unix.address):
            assert json.loads(await fetch(url, "/v1/models"))["data"][0]["id"] == "m"


async def test_a_response_has_its_status_and_text() -> None:
    async with SimulatedEngine("m") as engine, HttpClient(engine.address) as client:
        response = await client.get("/metrics")
        assert response.status == 200
        assert "vllm:num_requests_running" in response.text
        engine.faults = Faults(unhealthy=True)
        assert (await client.get("/health")).status == 503


async def test_bodies_are_put_and_posted() -> None:
    async with SimulatedEngine("m") as engine, HttpClient(engine.address, key="sk-1") as client:
        posted = await client.post("/v1/completions", b'{"model": "m", "prompt": "a", "max_tokens": 1}')
        assert json.loads(posted.body)["object"] == "text_completion"
        assert engine.requests[-1].header("authorization") == "Bearer sk-1"
        assert (await client.put("/sim/faults", b'{"status": 418}')).status == 200
        assert engine.faults.status == 418


async def test_a_resource_is_deleted() -> None:
    async def delete(request: web.Request) -> web.Response:
        return web.Response(text=f"{request.method} {request.path}")

    application = web.Application()
    application.add_routes([web.delete("/v1/models/m", delete)])
    async with TestServer(application) as server, HttpClient(str(server.make_url("/"))[:-1]) as client:
        assert (await client.delete("/v1/models/m")).text == "DELETE /v1/models/m"


async def test_a_connection_is_kept() -> None:
    async with SimulatedEngine("m") as engine, HttpClient(engine.address) as client:
        assert (await client.get("/health")).status == 200
        engine.faults = Faults(refuse=True)  # Open connections stay, new ones are refused.
        assert (await client.get("/health")).status == 200


async def test_failures_say_why(tmp_path: Path) -> None:
    async with SimulatedEngine() as engine:
        with pytest.raises(HttpError, match="status 404"):
            await fetch(engine.address, "/none")
    with pytest.raises(HttpError, match="none"):
        await fetch(f"unix:{tmp_path}/none", "/metrics")
