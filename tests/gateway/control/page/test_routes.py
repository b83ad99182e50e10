"""The paths of the page, as a browser and a script ask them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.control.page.routes import Page
from gateway.observe.counters import Counters
from loadtest.simulator import SimulatedEngine
from loadtest.simulator.faults import Faults
from tests.gateway.control.served import Plane, view_of
from tests.kit.gateways import RunningGateway, gateway, remote

NOBODY = remote("http://127.0.0.1:1")


async def shown(served: RunningGateway, path: str) -> Any:
    async with aiohttp.ClientSession() as http, http.get(served.control + path) as answer:
        assert answer.status == 200
        assert answer.headers["cache-control"] == "no-store"
        return await answer.json()


async def test_the_page_and_its_files_are_there() -> None:
    async with gateway({"m": NOBODY}, ready=[]) as served, aiohttp.ClientSession() as http:
        for path, status in (
            ("/", 200),
            ("/page/page.js", 200),
            ("/page/absent.js", 404),
            ("/page/uplot.LICENSE.txt", 404),
        ):
            async with http.get(served.control + path) as answer:
                assert answer.status == status


async def test_an_error_is_shown_with_what_its_client_was_told(tmp_path: Path) -> None:
    async with (
        SimulatedEngine(
            "m", uds=tmp_path / "engine", faults=Faults(status=500, error_body="<b>Out of memory</b>")
        ) as engine,
        gateway({"m": remote(engine.address)}) as served,
        aiohttp.ClientSession() as http,
    ):
        async with http.post(f"{served.address}/v1/completions", json={"model": "m", "prompt": "a"}) as answer:
            assert answer.status == 502
            request_id = answer.headers["x-request-id"]
        while not (errors := (await shown(served, "/page/api/state"))["recent_errors"]):  # noqa: ASYNC110 - the page looks now and then
            await asyncio.sleep(0.02)
    (error,) = errors
    assert (error["request_id"], error["status"], error["model"], error["replica"]) == (request_id, 502, "m", "m-0")
    assert "<b>Out of memory</b>" in error["message"]


async def test_a_model_is_shown_by_its_name_and_an_unknown_one_is_told() -> None:
    async with gateway({"org/m:1": NOBODY}, ready=[]) as served, aiohttp.ClientSession() as http:
        assert (await shown(served, "/page/api/model?name=org/m:1"))["model"] == "org/m:1"
        for query, reason in (("?name=x", "there is no model 'x'"), ("", "name=MODEL is missing")):
            async with http.get(f"{served.control}/page/api/model{query}") as answer:
                assert (answer.status, (await answer.json())["reason"]) == (404, reason)


@pytest.mark.slow
async def test_several_processes_are_shown_as_one_gateway(tmp_path: Path) -> None:
    async with (
        SimulatedEngine("m", uds=tmp_path / "engine") as engine,
        gateway({"m": remote(engine.address)}, processes=2) as served,
        aiohttp.ClientSession() as http,
    ):
        for _ in range(3):
            body = {"model": "m", "prompt": "a", "max_tokens": 5}
            async with http.post(f"{served.address}/v1/completions", json=body) as answer:
                assert answer.status == 200
            async with http.post(f"{served.address}/v1/completions", json={"model": "x"}) as answer:
                assert answer.status == 404
        while len((state := await shown(served, "/page/api/state"))["recent_errors"]) < 3:  # noqa: ASYNC110 - the page looks now and then
            await asyncio.sleep(0.02)
        # A look asks each process by itself, and may be between two requests for one of them.
        async with asyncio.timeout(60):
            while (detail := await shown(served, "/page/api/model?name=m"))["totals"]["tokens"]["output"] != 15:  # noqa: ASYNC110 - the page looks now and then
                await asyncio.sleep(0.02)
    assert len(state["gateway"]["processes"]) == 2
    assert detail["queue"]["classes"] is None
    assert state["models"][0]["ready"] == 1


async def test_a_page_that_was_not_started_is_stopped_all_the_same() -> None:
    page = Page(view_of(Plane()), Counters)
    await page.stop()
    assert repr(page) == "<Page <Sampler of 0 replicas, <History of 0 models [12480 bytes]>>>"
