"""All exchanges are visited by the ticker."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from loadtest.simulator.faults import Faults
from tests.gateway.exchange.asking import CHAT, ask, one_engine
from tests.kit.eventually import eventually
from tests.kit.playbook import Playbook, post


async def test_of_many_requests_each_has_its_deadline_kept(tmp_path: Path) -> None:
    async with one_engine(tmp_path, timeouts={"total": 0.3}) as (engine, running), AsyncExitStack() as wires:
        engine.faults = Faults(silent=True)
        asking = [await wires.enter_async_context(await running.wire()) for _ in range(250)]
        for wire in asking:
            await wire.request("POST", CHAT, ask())
        assert {(await wire.response()).status for wire in asking} == {504}


async def test_a_short_deadline_is_kept_without_a_tick_of_the_ticker() -> None:
    play = Playbook()
    play.client.sends(post(headers=b"x-request-timeout-ms: 20\r\n"))
    await eventually(lambda: play.client.got().startswith(b"HTTP/1.1 504 "))
    assert set(play.held()) == {0}


async def test_an_engine_that_goes_on_keeps_its_short_deadline_moving() -> None:
    play = Playbook(timeouts={"first_byte": 0.05})
    play.client.sends(post(stream=True))
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    play.engines[0].says(head)
    await eventually(lambda: b"first_byte_timeout" in play.client.got())
    assert play.engines[0].line.aborted


async def test_a_dispatcher_that_has_stopped_keeps_no_deadline() -> None:
    play = Playbook()
    play.client.sends(post(headers=b"x-request-timeout-ms: 1\r\n"))
    play.dispatcher.stop()
    await asyncio.sleep(0.05)
    assert play.client.got() == b""
    assert "1 exchanges" in repr(play.dispatcher)
