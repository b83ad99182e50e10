"""Every path is guarded, those of the future too: what changes something, and what the page shows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from gateway.control.access import Access
from gateway.control.guard import Guard

RIGHT = {"authorization": "Bearer a-token-that-nobody-knows"}
OTHER_PAGE = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}


@asynccontextmanager
async def guarded() -> AsyncIterator[tuple[aiohttp.ClientSession, list[tuple[str, str]]]]:
    """Run a server with a guard before everything; give a client, and the commands that were noted."""
    noted: list[tuple[str, str]] = []
    guard = Guard(Access("a-token-that-nobody-knows"), "/page/api/", lambda what, who: noted.append((what, who)))

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text="done", status=404 if request.path == "/absent" else 200)

    application = web.Application(middlewares=[guard.middleware()])
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as http:
            yield http, noted
    finally:
        await runner.cleanup()


async def test_a_script_on_this_machine_gives_commands_and_they_are_noted() -> None:
    async with guarded() as (http, noted), http.post("/anything/at/all") as answer:
        assert (answer.status, await answer.text()) == (200, "done")
        assert noted == [("POST /anything/at/all", "asked for by 127.0.0.1")]


async def test_the_page_gives_commands_with_the_token() -> None:
    async with guarded() as (http, noted), http.post("/reload", headers={"sec-fetch-site": "same-origin"}) as refused:
        assert refused.status == 401
        assert refused.headers["www-authenticate"] == 'Bearer realm="headgate control"'
        assert (await refused.json())["code"] == "token_required"
        async with http.post("/reload", headers={"sec-fetch-site": "same-origin"} | RIGHT) as answer:
            assert answer.status == 200
        assert noted == [("POST /reload", "asked for by the page at 127.0.0.1")]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_a_page_of_another_origin_changes_nothing(method: str) -> None:
    async with guarded() as (http, noted), http.request(method, "/reload", headers=OTHER_PAGE) as answer:
        assert (answer.status, (await answer.json())["code"]) == (403, "other_origin")
        assert noted == []


async def test_what_is_looked_at_needs_a_host_that_is_trusted() -> None:
    async with guarded() as (http, _):
        for path, headers, status in (
            ("/page/api/state", {}, 200),
            ("/page/api/state", {"host": "evil.example"}, 403),
            ("/page/api/state", {"host": "evil.example"} | RIGHT, 200),
            ("/metrics", {"host": "prometheus.example"}, 200),
        ):
            async with http.get(path, headers=headers) as answer:
                assert answer.status == status


async def test_a_command_that_failed_is_not_noted() -> None:
    async with guarded() as (http, noted), http.post("/absent") as answer:
        assert (answer.status, noted) == (404, [])


def test_the_repr_tells_what_is_guarded() -> None:
    assert repr(Guard(Access("x"), "/page/api/", print)) == "<Guard of /page/api/ and all commands>"
