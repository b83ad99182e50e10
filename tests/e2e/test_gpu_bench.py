"""The benchmark in front of vLLM measures a real engine, both ways: here that of the default models."""

from __future__ import annotations

import pytest
import uvloop

from loadtest.bench.gpu.engine import Compared
from loadtest.bench.gpu.measure import GpuSettings, compare
from loadtest.bench.gpu.report import misses, table
from loadtest.bench.gpu.shapes import SHAPES
from loadtest.bench.gpu.turn import Lengths
from tests.e2e.conftest import Served

pytestmark = pytest.mark.slow

MODEL = "smollm2-135m"
SETTINGS = GpuSettings(
    shape=SHAPES["135m"],
    streams=(2,),
    knee=False,
    lengths=Lengths(prompt=8, response=3),
    seconds=0.1,
    rounds=1,
    idle_seconds=0.1,
)


def test_a_real_engine_is_compared_with_itself_behind_the_gateway(served: Served) -> None:
    replicas = served.status()[MODEL]["replicas"]
    assert isinstance(replicas, list)
    direct = replicas[0]["address"]
    assert direct.startswith("unix:")
    target = Compared(MODEL, served.address, direct, "none", served.process.pid)
    found = {"part": "gpu", **uvloop.run(compare(target, SETTINGS, print))}
    assert found["engine"]["block_size"] * found["engine"]["num_blocks"] > 2048
    for point in found["points"]:
        assert point["failed"] == 0
        assert point["direct"]["responses"] > 0
        assert point["gateway"]["responses"] > 0
        assert point["gateway"]["cpu_seconds"] > 0
    assert [point["mode"] for point in found["points"]] == ["streamed", "unary"]
    assert f"vLLM {found['engine']['vllm']} on" in table(found)
    assert all(line.startswith("gpu, 2 ") for line in misses(found))
