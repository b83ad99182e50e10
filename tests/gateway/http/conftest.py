"""The engines and applications that the tests of the wire talk to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.http.address import Address
from gateway.http.connection_pool import ConnectionPool
from tests.gateway.http.raw_engine import Engine
from tests.gateway.http.tiny_application import Served, open_house
from tests.kit.eventually import eventually
from tests.kit.wire import Wire


@pytest.fixture(params=["tcp", "unix"])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Engine]:
    connections: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    writers = []

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        connections.put_nowait((reader, writer))

    if request.param == "tcp":
        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        address = Address.parse(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    else:
        server = await asyncio.start_unix_server(accept, tmp_path / "engine.sock")
        address = Address.parse(f"unix:{tmp_path}/engine.sock")
    pool = ConnectionPool(address, connect_timeout=5.0)
    yield Engine(address, pool, connections)
    pool.close()
    await eventually(lambda: "0 open, 0 idle" in repr(pool))
    server.close()
    for writer in writers:
        writer.transport.abort()
    await server.wait_closed()


@pytest.fixture
async def house() -> AsyncIterator[Served]:
    async with open_house() as opened:
        yield opened


@pytest.fixture
async def wire(house: Served) -> AsyncIterator[Wire]:
    async with await Wire.connect(house.host, house.port) as connected:
        yield connected
