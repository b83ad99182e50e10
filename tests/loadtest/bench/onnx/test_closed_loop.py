"""A closed loop is summed up without its warm-up, with what the servers used."""

from __future__ import annotations

import os

from loadtest.bench.launch import Server
from loadtest.bench.onnx.closed_loop import closed_loop, percentile_ms
from loadtest.simulator import Faults, SimulatedEngine
from loadtest.workload import embedding

ASK = embedding("sim", "a b c", 0, stream=False)


async def test_requests_and_processor_time_are_summed_up() -> None:
    async with SimulatedEngine() as engine:
        found, used = await closed_loop([Server(engine.address, os.getpid())], [ASK], clients=2, seconds=0.2)
        assert 0 < found["completed"] < engine.received
    assert found["failed"] == 0
    assert used > 0
    assert percentile_ms(found, 50).endswith(" ms")


async def test_there_is_no_percentile_where_every_request_failed() -> None:
    async with SimulatedEngine(faults=Faults(status=500)) as engine:
        found, _ = await closed_loop([Server(engine.address, os.getpid())], [ASK], clients=1, seconds=0.1)
    assert found["failed"] > 0
    assert percentile_ms(found, 99) == "none"
