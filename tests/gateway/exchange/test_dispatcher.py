"""All exchanges are visited by the ticker."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

from loadtest.simulator.faults import Faults
from tests.gateway.exchange.asking import CHAT, ask, one_engine


async def test_of_many_requests_each_has_its_deadline_kept(tmp_path: Path) -> None:
    async with one_engine(tmp_path, timeouts={"total": 0.3}) as (engine, running), AsyncExitStack() as wires:
        engine.faults = Faults(silent=True)
        asking = [await wires.enter_async_context(await running.wire()) for _ in range(250)]
        for wire in asking:
            await wire.request("POST", CHAT, ask())
        assert {(await wire.response()).status for wire in asking} == {504}
