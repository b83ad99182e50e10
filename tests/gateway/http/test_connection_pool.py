"""Connections are kept, used again, and closed when they are of no use."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from time import perf_counter

import pytest

from gateway.http.address import Address
from gateway.http.connection_pool import ConnectionPool, ConnectionPools
from gateway.http.host_lookup import HostLookup
from gateway.http.upstream import UpstreamConnection, UpstreamError
from tests.gateway.http.raw_engine import OK, REQUEST, Engine, connected
from tests.kit.eventually import eventually


async def test_a_connection_is_used_again(engine: Engine) -> None:
    for _ in range(3):
        _, notes = await engine.ask()
        if engine.connections.qsize():
            _, writer = await engine.accept()
        writer.write(OK)
        await notes.response()
        assert repr(engine.pool) == f"<ConnectionPool {engine.address.url} [1 open, 1 idle]>"


async def test_the_last_used_connection_is_the_first_to_be_used_again(engine: Engine) -> None:
    (first, one), (second, two) = await engine.ask(), await engine.ask()
    for notes in (one, two):
        _, writer = await engine.accept()
        writer.write(OK)
        await notes.response()
    assert [engine.pool.take(), engine.pool.take(), engine.pool.take()] == [second, first, None]
    first.abort()
    second.abort()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    ],
)
async def test_a_connection_that_the_engine_will_close_is_not_used_again(engine: Engine, answer: bytes) -> None:
    await (await engine.answering(answer)).response()
    assert engine.pool.take() is None


async def test_an_idle_connection_that_the_engine_closes_is_forgotten(engine: Engine) -> None:
    _, notes = await engine.ask()
    _, writer = await engine.accept()
    writer.write(OK)
    await notes.response()
    writer.close()
    await eventually(lambda: "0 open, 0 idle" in repr(engine.pool))
    assert engine.pool.take() is None


async def test_connections_that_stay_idle_are_closed(engine: Engine) -> None:
    _, notes = await engine.ask()
    reader, writer = await engine.accept()
    writer.write(OK)
    await notes.response()
    engine.pool.tick(perf_counter() + 59)
    assert "1 idle" in repr(engine.pool)
    engine.pool.tick(perf_counter() + 61)
    assert await reader.read() == REQUEST + b"{}"
    await eventually(lambda: "0 open, 0 idle" in repr(engine.pool))


async def test_nobody_there_is_a_failure(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        for url in (f"unix:{tmp_path}/none.sock", f"http://127.0.0.1:{port}", f"http://{'a' * 64}"):
            with pytest.raises(UpstreamError, match="The engine") as failed:
                await connected(ConnectionPool(Address.parse(url), connect_timeout=5.0))
            assert not failed.value.answered


@pytest.mark.parametrize(("second", "reached"), [("127.0.0.1", True), ("127.0.0.3", False)])
async def test_the_addresses_of_a_name_are_tried_one_after_another(second: str, reached: bool) -> None:
    async def keep_open(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(keep_open, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        pool = ConnectionPool(Address.parse(f"http://engine.internal:{port}"), connect_timeout=5.0)
        pool._lookup = HostLookup("engine.internal", port, lambda _host, _port: ["127.0.0.2", second])
        if reached:
            assert (await connected(pool)).transport.get_extra_info("peername") == (second, port)
        else:
            with pytest.raises(UpstreamError, match="refused the connection"):
                await connected(pool)
        pool.close()


async def test_an_engine_that_does_not_accept_is_a_failure() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        pool = ConnectionPool(Address.parse(f"http://127.0.0.1:{full.getsockname()[1]}"), connect_timeout=0.05)
        opened: list[UpstreamConnection] = []

        async def fill_the_queue() -> None:
            for _ in range(10):
                opened.append(await connected(pool))  # noqa: PERF401

        with pytest.raises(UpstreamError, match=r"did not accept a connection within 0\.05 s"):
            await fill_the_queue()
        for connection in opened:
            connection.abort()
        await eventually(lambda: "0 open" in repr(pool))


@pytest.mark.parametrize("turns", range(6))
async def test_who_gives_up_connecting_leaves_nothing_behind(engine: Engine, turns: int) -> None:
    called: list[object] = []
    task = engine.pool.connect(called.append, called.append)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    for connection in called:
        assert isinstance(connection, UpstreamConnection)
        connection.abort()
    await eventually(lambda: "0 open, 0 idle" in repr(engine.pool))


async def test_closing_the_pool_closes_everything(engine: Engine) -> None:
    _, notes = await engine.ask()
    connecting = engine.pool.connect(lambda _: None, lambda _: None)
    engine.pool.close()
    await asyncio.wait([connecting])
    assert connecting.cancelled()
    assert "before its response was complete" in str(await notes.failure())


async def test_a_retired_pool_closes_what_is_idle_and_keeps_nothing_that_comes_back(engine: Engine) -> None:
    (_, one), (_, two) = await engine.ask(), await engine.ask()
    writers = [(await engine.accept())[1] for _ in range(2)]
    writers[0].write(OK)
    await one.response()
    engine.pool.retire()
    await eventually(lambda: "[1 open, 0 idle]" in repr(engine.pool))
    writers[1].write(OK)
    await two.response()
    await eventually(lambda: "[0 open, 0 idle]" in repr(engine.pool))


def test_an_address_whose_pool_was_retired_gets_a_new_one() -> None:
    pools = ConnectionPools(connect_timeout=1.0)
    address = Address.parse("http://a")
    first = pools.of(address)
    assert pools.of(address) is first
    first.retire()
    second = pools.of(address)
    assert second is not first
    assert pools.of(address) is second


def test_the_pool_of_an_address_is_forgotten_with_the_last_replica_that_had_it() -> None:
    pools = ConnectionPools(connect_timeout=1.0)
    first, second = pools.of(Address.parse("http://a")), pools.of(Address.parse("http://b"))
    assert pools.of(Address.parse("http://a")) is first
    assert "http://b" in repr(pools)
    del second
    assert repr(pools) == f"<ConnectionPools [{first!r}]>"
