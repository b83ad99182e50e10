"""The server's queue is read from its own metrics while a test runs."""

from __future__ import annotations

import asyncio

import pytest

from loadtest import workload
from loadtest.load import Load
from loadtest.preflight import CannotBegin
from loadtest.queuewatch import QueueWatch, waiting
from loadtest.simulator import SimulatedEngine
from loadtest.simulator.batch import Timing
from tests.kit.eventually import PATIENCE
from tests.kit.gateways import gateway, remote

CHAT = workload.chat("sim", "hello", 2, stream=True)


async def first_sample(url: str) -> tuple[float, float]:
    """Watch until the clock, which always shows 1.5, has been read for a sample."""
    read = asyncio.Event()

    def clock() -> float:
        read.set()
        return 1.5

    watch = QueueWatch(url, clock)
    await watch.check()
    task = asyncio.create_task(watch.run())
    async with asyncio.timeout(PATIENCE):
        await read.wait()
    task.cancel()
    return watch.samples[0]


async def test_the_gateways_queue_at_either_form_of_its_address() -> None:
    async with (
        SimulatedEngine(timing=Timing(ttft=60.0)) as engine,
        gateway({"sim": remote(engine.address, max_in_flight=1)}) as running,
    ):
        load = Load(running.address)
        task = asyncio.create_task(load.open_loop([CHAT], [0.0] * 4))
        async with asyncio.timeout(PATIENCE):
            while True:
                if 'headgate_requests_waiting{model="sim"} 3.0' in await running.metrics():
                    break
                await asyncio.sleep(0.01)
        for url in (running.control, f"{running.control}/metrics"):
            assert await first_sample(url) == (1.5, 3.0)
        load.stop()
        await task
        load.close()


async def test_an_engines_own_queue() -> None:
    async with SimulatedEngine(timing=Timing(ttft=60.0, max_num_seqs=1)) as engine:
        load = Load(engine.address)
        task = asyncio.create_task(load.open_loop([CHAT], [0.0] * 3))
        await engine.until(lambda each: each.waiting == 2)
        assert await first_sample(engine.address) == (1.5, 2.0)
        load.stop()
        await task
        load.close()


async def test_what_cannot_be_read_is_said_before_the_test() -> None:
    with pytest.raises(CannotBegin, match=r"--metrics http://127.0.0.1:1/metrics cannot be read: "):
        await QueueWatch("http://127.0.0.1:1", lambda: 0.0).check()
    async with SimulatedEngine() as engine:
        with pytest.raises(CannotBegin, match="has neither headgate_requests_waiting nor vllm:num_requests_waiting"):
            await QueueWatch(f"{engine.address}/v1/models", lambda: 0.0).check()


@pytest.mark.parametrize("page", [b"\xff\xfe", b"headgate_requests_waiting{model= many\n"])
async def test_a_page_that_is_garbage_is_said_before_the_test_and_left_out_later(page: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(page), page))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1") as server:
        watch = QueueWatch(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", lambda: 0.0)
        with pytest.raises(CannotBegin, match="cannot be read"):
            await watch.check()
        task = asyncio.create_task(watch.run())
        async with asyncio.timeout(PATIENCE):
            while not watch.failures:
                assert not task.done()
                await asyncio.sleep(0.01)
        task.cancel()
    assert watch.samples == []


def test_models_are_added_up_and_other_metrics_left_alone() -> None:
    page = (
        'headgate_requests_waiting{model="a"} 2.0\nheadgate_requests_waiting{model="b"} 3.0\n'
        'headgate_requests_waiting_total{model="a"} 9.0\nvllm:num_requests_waiting{model_name="a"} 7.0\n'
    )
    assert waiting(page) == 5.0
    assert waiting("up 1\n") is None
