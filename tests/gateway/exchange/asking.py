"""Chat requests through a gateway in front of simulated engines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from loadtest.simulator import SimulatedEngine
from tests.kit.gateways import RunningGateway, gateway, remote
from tests.kit.wire import Response

CHAT = "/v1/chat/completions"


def ask(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 4, "messages": [{"role": "user", "content": "Hi"}]} | fields


async def answer_to(running: RunningGateway, body: Any, **headers: str) -> Response:
    async with await running.wire() as wire:
        await wire.request("POST", CHAT, body, {name.replace("_", "-"): value for name, value in headers.items()})
        return await wire.response()


@asynccontextmanager
async def one_engine(
    tmp_path: Path, options: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[tuple[SimulatedEngine, RunningGateway]]:
    async with (
        SimulatedEngine("m", uds=tmp_path / "a") as engine,
        gateway({"m": remote(engine.address, **(options or {}))}, **settings) as running,
    ):
        yield engine, running
        await running.gateway.plane.idle()
        assert "0 in flight, 0 queued" in repr(running)


async def said(running: RunningGateway, words: str) -> None:
    async with asyncio.timeout(30):
        while words not in repr(running):  # noqa: ASYNC110 - the gateway has no event for each of its states
            await asyncio.sleep(0)
