"""All exchanges are visited by the ticker."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

from gateway.api.routes import TABLE
from gateway.core.context import INTERNAL, RequestContext, RequestHead
from gateway.exchange.internal_call import InternalCall
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


def overloaded(play: Playbook, ticks: int) -> None:
    """Let the loop be late for so many ticks, and requests of both classes come."""
    for _ in range(ticks):
        play.shedding.tick(1.0)
        for priority in (-1, 1):
            play.shedding.refuses(priority)


def key(name: str, priority: int) -> dict[str, Any]:
    return {"id": name, "sha256": sha256(name.encode()).hexdigest(), "priority": priority}


def as_key(name: str, **fields: Any) -> bytes:
    return post(headers=b"authorization: Bearer %b\r\n" % name.encode(), **fields)


async def test_an_overloaded_gateway_refuses_the_lowest_class_and_serves_the_others() -> None:
    play = Playbook(keys=[key("chat", -1), key("batch", 1)])
    overloaded(play, 14)
    play.client.sends(as_key("batch"))
    refused = play.client.got()
    assert refused.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b'"code":"gateway_overloaded"' in refused
    assert b"retry-after: " in refused
    play.client.sends(as_key("chat"))
    assert play.engines[0].requests == 1
    # A request may stand back behind others of its key.
    play.new_client().sends(as_key("chat", priority=1))
    assert play.engines[0].requests == 1
    assert play.metrics.of("m").admissions == {
        "admitted": 1,
        "queued": 0,
        "held": 0,
        "refused": 0,
        "shed": 2,
        "timeout": 0,
    }


async def test_what_the_gateway_asks_itself_is_not_refused_by_its_overload() -> None:
    play = Playbook()
    overloaded(play, 100)
    for _ in range(20):
        context = RequestContext(RequestHead(INTERNAL), body=b'{"model":"m","input":"a"}')
        context.head.match = TABLE.find(b"POST", b"/classify")
        asking = asyncio.create_task(InternalCall(play.pipeline).ask(context))
        await play.turn()
        asking.cancel()
    assert play.engines[0].requests == 20
