"""An engine that says what it is told to, and sees connections end."""

from __future__ import annotations

import asyncio

import pytest

from loadtest.bench.faults.raw_engine import RawEngine, unaccepting
from tests.kit.eventually import PATIENCE
from tests.kit.wire import Wire


async def test_it_is_healthy_and_silent_until_it_is_told_what_to_say() -> None:
    async with RawEngine() as engine, await Wire.connect_to(engine.address) as wire:
        await wire.request("GET", "/health")
        assert (await wire.response()).status == 200
        await wire.request("POST", "/a", b"x" * 100_000)
        assert await engine.arrived() == "/a"
        engine.reply = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
        await wire.request("POST", "/b", b"{}")
        assert (await wire.response()).body == b"ok"
        assert engine.asked == ["/a", "/b"]


async def test_it_sees_when_a_connection_ends_on_which_it_was_asked() -> None:
    async with RawEngine() as engine:
        async with await Wire.connect_to(engine.address) as probe:
            await probe.request("GET", "/health")
            await probe.response()
        async with await Wire.connect_to(engine.address) as wire:
            await wire.request("POST", "/a", b"{}")
            await engine.arrived()
        await asyncio.wait_for(engine.left.get(), PATIENCE)
        assert engine.left.empty()


async def test_a_port_that_accepts_nothing_keeps_clients_waiting() -> None:
    engine = RawEngine()
    async with engine:
        pass
    with unaccepting(engine.port), pytest.raises(TimeoutError):
        await asyncio.wait_for(Wire.connect_to(engine.address), 0.1)
    async with engine, await Wire.connect_to(engine.address) as wire:
        await wire.request("GET", "/health")
        assert (await wire.response()).status == 200
