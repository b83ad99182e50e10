"""A client that does not read is cut off, and no crowd before the page keeps a probe from its answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest
from aiohttp import web

from gateway.control.bounded import Bounded
from tests.kit.eventually import eventually

LARGE = b"x" * 64 * 1024 * 1024
"""More than the system holds for a client."""


class Port:
    """A server with one large response, one that waits, and one that is quick."""

    def __init__(self, bounded: Bounded) -> None:
        self.bounded = bounded
        self.waiting = 0
        self.go_on = asyncio.Event()
        self.address = ""

    async def large(self, _request: web.Request) -> web.Response:
        return web.Response(body=LARGE)

    async def wait(self, _request: web.Request) -> web.Response:
        self.waiting += 1
        await self.go_on.wait()
        return web.Response(text="waited")

    async def quick(self, _request: web.Request) -> web.Response:
        return web.Response(text="alive")

    async def missing(self, _request: web.Request) -> web.Response:
        raise web.HTTPNotFound(text="There is none.")


@asynccontextmanager
async def port(seconds: float = 10.0, at_once: int = 2) -> AsyncIterator[Port]:
    made = Port(Bounded(seconds, at_once, "/page/"))
    application = web.Application(middlewares=[made.bounded.middleware()])
    application.add_routes(
        [
            web.get("/page/large", made.large),
            web.get("/page/wait", made.wait),
            web.get("/page/missing", made.missing),
            web.get("/livez", made.quick),
        ]
    )
    runner = web.AppRunner(application, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        made.go_on.set()
        await runner.cleanup()


async def test_a_client_that_reads_gets_everything() -> None:
    async with port() as here, aiohttp.ClientSession(here.address) as http, http.get("/page/large") as answer:
        assert await answer.read() == LARGE


async def test_a_client_that_never_reads_is_cut_off() -> None:
    async with port(seconds=0.2) as here:
        host, number = here.address.removeprefix("http://").split(":")
        loop = asyncio.get_running_loop()
        with socket.create_connection((host, int(number))) as client:
            client.setblocking(False)
            await loop.sock_sendall(client, b"GET /page/large HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
            await eventually(lambda: repr(here.bounded) == "<Bounded [1 of 2]>")
            await eventually(lambda: repr(here.bounded) == "<Bounded [0 of 2]>")
            received = 0
            with suppress(ConnectionResetError):
                while data := await loop.sock_recv(client, 1 << 20):
                    received += len(data)
            assert received < len(LARGE)


async def test_a_client_that_leaves_in_the_middle_is_not_worth_a_word(caplog: pytest.LogCaptureFixture) -> None:
    async with port() as here:
        host, number = here.address.removeprefix("http://").split(":")
        loop = asyncio.get_running_loop()
        with socket.create_connection((host, int(number))) as client:
            client.setblocking(False)
            await loop.sock_sendall(client, b"GET /page/large HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
            assert await loop.sock_recv(client, 1024)
        await eventually(lambda: repr(here.bounded) == "<Bounded [0 of 2]>")
    assert not caplog.records


async def test_of_the_page_so_many_requests_are_worked_on_and_probes_are_answered_all_the_same() -> None:
    async with port() as here, aiohttp.ClientSession(here.address) as http:
        waiting = [asyncio.create_task(http.get("/page/wait")) for _ in range(2)]
        await eventually(lambda: here.waiting == 2)
        async with http.get("/page/wait") as refused, http.get("/livez") as probe:
            assert (refused.status, refused.headers["retry-after"]) == (503, "1")
            assert (await refused.json())["reason"] == "2 requests of this page are under way"
            assert probe.status == 200
        here.go_on.set()
        assert [await (await each).text() for each in waiting] == ["waited", "waited"]
        async with http.get("/page/wait") as answer:
            assert answer.status == 200


async def test_an_error_is_a_response_like_any() -> None:
    async with port() as here, aiohttp.ClientSession(here.address) as http, http.get("/page/missing") as answer:
        assert (answer.status, await answer.text()) == (404, "There is none.")
