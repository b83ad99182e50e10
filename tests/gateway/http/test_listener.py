"""A listener counts its connections, limits them, and closes them in time."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from time import perf_counter

import pytest

from gateway.http.client_connection import ClientConnection
from gateway.http.listener import Listener
from tests.gateway.http.tiny_application import GET, Limits, Served, Timeouts, Tiny, open_house
from tests.kit.eventually import eventually
from tests.kit.wire import Wire


async def test_one_connection_too_many_is_told_so() -> None:
    async with open_house(Limits(max_connections=1)) as house:
        first = await Wire.connect(house.host, house.port)
        await first.send(GET)
        assert (await first.response()).status == 200
        async with first, await Wire.connect(house.host, house.port) as second:
            answer = await second.response()
            assert (answer.status, answer.header("retry-after")) == (503, "1")
            await second.closed()
            await first.send(GET)
            assert (await first.response()).status == 200


async def test_one_connection_of_a_client_too_many_is_told_so() -> None:
    async with open_house(Limits(max_connections_per_client=1)) as house:
        first = await Wire.connect(house.host, house.port)
        await first.send(GET)
        assert (await first.response()).status == 200
        async with first, await Wire.connect(house.host, house.port) as second:
            answer = await second.response()
            assert (answer.status, answer.json["error"]["type"]) == (429, "rate_limit_error")
            await second.close()
            await first.close()
            await house.empty()
        async with await Wire.connect(house.host, house.port) as third:
            await third.send(GET)
            assert (await third.response()).status == 200


async def test_of_many_connections_each_has_its_deadline_kept_within_ten_ticks() -> None:
    async with open_house(Limits(max_connections=300)) as house, AsyncExitStack() as wires:
        for _ in range(250):
            wire = await wires.enter_async_context(await Wire.connect(house.host, house.port))
            await wire.send(GET)
            await wire.response()
        late = perf_counter() + 76
        house.listener.tick(late)
        await eventually(lambda: len(house.listener.connections) == 200)
        for _ in range(9):
            house.listener.tick(late)
        await house.empty()


async def test_idle_connections_are_closed_and_busy_ones_after_their_answer(house: Served, wire: Wire) -> None:
    await wire.send(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n" + GET)
    held = await house.held()
    async with await Wire.connect(house.host, house.port) as idle, await Wire.connect(house.host, house.port) as half:
        await half.send(GET[:-2])
        await idle.send(GET)
        await idle.response()
        house.listener.close_idle()
        await idle.closed()
        held.finish()
        answer = await wire.response()
        assert (answer.body, answer.header("connection")) == (b"done", "close")
        await wire.closed()
        await half.send(GET[-2:])
        assert (await half.response()).header("connection") == "close"
        await half.closed()


async def test_a_unix_socket_is_a_door_too(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("s") / "gate.sock"
    application = Tiny()
    listener = Listener(application, Limits(), Timeouts())
    server = await asyncio.get_running_loop().create_unix_server(partial(ClientConnection, listener), str(path))
    async with await Wire.connect_to(f"unix:{path}") as wire:
        await wire.send(GET)
        assert (await wire.response()).body == b"/a"
    assert application.seen[0].head.client == "unix"
    server.close()
    await server.wait_closed()
