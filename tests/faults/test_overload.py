"""Overload of the gateway itself: what it refuses then, what still answers, and how it comes back."""

from __future__ import annotations

import asyncio
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from gateway.core.ticker import TICK_SECONDS
from loadtest.simulator import SimulatedEngine
from tests.kit.gateways import RunningGateway, gateway, remote
from tests.kit.wire import Response, Wire

MAX_LAG = 0.05
"""Seconds; more than a machine on which other tests run makes the loop late, as the median of five ticks."""
KEYS = [
    {"id": name, "sha256": sha256(name.encode()).hexdigest(), "priority": priority}
    for name, priority in (("chat", -1), ("batch", 1))
]
OTHERS = 8
"""Clients of the lowest class for each of the highest: what is refused at first is well within the share of theirs."""


@asynccontextmanager
async def one_engine(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with (
        SimulatedEngine("m", uds=tmp_path / "a") as engine,
        gateway({"m": remote(engine.address)}, keys=KEYS, limits={"max_loop_lag": MAX_LAG}) as running,
    ):
        yield running


@asynccontextmanager
async def busy_loop() -> AsyncIterator[None]:
    """Have the event loop do work that takes longer than it may be late, again and again."""
    loop = asyncio.get_running_loop()
    busy = True

    def work() -> None:
        time.sleep(4 * MAX_LAG)
        if busy:
            loop.call_soon(work)

    work()
    try:
        yield
    finally:
        busy = False


async def asked(wire: Wire, key: str) -> Response:
    body = {"model": "m", "prompt": "a", "max_tokens": 1}
    await wire.request("POST", "/v1/completions", body, {"authorization": f"Bearer {key}"})
    return await wire.response()


@pytest.mark.slow
async def test_the_lowest_class_is_refused_first_and_served_again_after_the_overload(tmp_path: Path) -> None:
    async with one_engine(tmp_path) as running, await running.wire() as wire, AsyncExitStack() as stack:
        others = [await stack.enter_async_context(await running.wire()) for _ in range(OTHERS)]
        outcomes: dict[str, Counter[int]] = {"chat": Counter(), "batch": Counter()}
        async with busy_loop(), asyncio.timeout(120):
            refused: list[Response] = []
            while not refused:
                chat, *batch = await asyncio.gather(asked(wire, "chat"), *(asked(each, "batch") for each in others))
                outcomes["chat"][chat.status] += 1
                outcomes["batch"].update(each.status for each in batch)
                refused = [each for each in batch if each.status != 200]
            assert {each.json["error"]["code"] for each in refused} == {"gateway_overloaded"}
            assert all(each.header("retry-after") for each in refused)
            # What costs next to nothing is not refused.
            await wire.request("GET", "/health")
            assert (await wire.response()).status == 200
        assert outcomes["chat"].keys() == {200}
        assert outcomes["batch"].keys() == {200, 503}
        async with asyncio.timeout(120):
            in_a_row = 0
            while in_a_row < 10:
                status = (await asked(wire, "batch")).status
                outcomes["batch"][status] += 1
                in_a_row = in_a_row + 1 if status == 200 else 0
                await asyncio.sleep(TICK_SECONDS / 4)
        metrics = await running.metrics()
        assert f'headgate_admissions_total{{model="m",outcome="shed"}} {outcomes["batch"][503]}.0' in metrics
        assert 'headgate_requests_running{model="m"} 0.0' in metrics


async def test_one_long_pause_refuses_nothing(tmp_path: Path) -> None:
    async with one_engine(tmp_path) as running, await running.wire() as wire:
        time.sleep(10 * MAX_LAG)  # noqa: ASYNC251 - like a pause of the garbage collector
        for _ in range(10):
            assert (await asked(wire, "batch")).status == 200
            await asyncio.sleep(TICK_SECONDS / 4)


async def test_the_probe_of_liveness_answers_while_the_event_loop_does_not(tmp_path: Path) -> None:
    async with one_engine(tmp_path) as running:
        answers: list[int] = []

        def probe() -> None:
            with urllib.request.urlopen(f"{running.control}/livez", timeout=60) as response:
                answers.append(response.status)

        thread = threading.Thread(target=probe)
        thread.start()
        # The loop of the data plane stands still until the answer is there.
        thread.join(60)
        assert answers == [200]
        async with await running.wire() as wire:
            assert (await asked(wire, "chat")).status == 200
