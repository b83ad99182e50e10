"""The two ways to an engine are compared: here both lead to the same simulated one."""

import json
import os
from dataclasses import replace
from typing import Any

import pytest

from loadtest.bench.gpu.engine import Compared
from loadtest.bench.gpu.measure import GpuSettings, compare, concluded
from loadtest.bench.gpu.shapes import SHAPES
from loadtest.bench.gpu.turn import Lengths, NothingMeasured
from loadtest.simulator import Faults, Profile, SimulatedEngine

SHAPE = replace(SHAPES["135m"], args={**SHAPES["135m"].args, "max-num-seqs": 16})
SETTINGS = GpuSettings(
    shape=SHAPE,
    streams=(2,),
    lengths=Lengths(prompt=8, response=4),
    seconds=0.05,
    rounds=2,
    idle_seconds=0.05,
)


def side(tokens: float, **figures: float) -> dict[str, float]:
    """Make the figures of one turn."""
    return {"tokens_per_second": tokens, "failed": 0, **figures}


async def test_each_number_of_streams_and_the_knee_are_measured_both_ways() -> None:
    said: list[str] = []
    async with SimulatedEngine("m", profile=Profile(step=0.001, max_num_seqs=16)) as engine:
        found = await compare(Compared("m", engine.address, engine.address, "key", os.getpid()), SETTINGS, said.append)
        lengths = {json.loads(each.body)["max_completion_tokens"] for each in engine.requests}
    knee = found["knee"]["streams"]
    assert knee in {8, 16}
    points = [(each["mode"], each["streams"]) for each in found["points"]]
    assert points == [(mode, streams) for mode in ("streamed", "unary") for streams in (2, knee)]
    for point in found["points"]:
        assert len(point["rounds"]) == 2
        assert point["failed"] == 0
        assert point["gateway"]["cpu_seconds"] > 0
        assert "cpu_seconds" not in point["direct"]
        assert ("ttft_added_ms" in point) == (point["mode"] == "streamed")
    assert max(lengths) == 4
    assert found["args"]["load-format"] == "dummy"
    assert any(line.startswith("gpu: round 2, 2 unary: ") for line in said)


async def test_an_engine_that_answers_nothing_is_said() -> None:
    async with SimulatedEngine("m", faults=Faults(status=500)) as engine:
        target = Compared("m", engine.address, engine.address, "key", os.getpid())
        with pytest.raises(NothingMeasured, match="no request was answered: status 500"):
            await compare(target, SETTINGS, print)


def test_sides_are_compared_within_each_round() -> None:
    # In the second round the machine is half as fast: each round says that the gateway costs a tenth.
    rounds: list[dict[str, Any]] = [
        {"direct": side(100, ttft_p50_ms=10, tpot_p50_ms=5), "gateway": side(90, ttft_p50_ms=11, tpot_p50_ms=6)},
        {"direct": side(50, ttft_p50_ms=20, tpot_p50_ms=10), "gateway": side(45, ttft_p50_ms=21, tpot_p50_ms=12)},
    ]
    found = concluded("streamed", 3, rounds)
    assert found["share"] == pytest.approx(0.9)
    assert found["ttft_added_ms"] == pytest.approx(1.0)
    assert found["tpot_times"] == pytest.approx(1.2)
    assert found["direct"]["tokens_per_second"] == 75
    assert found["failed"] == 0


def test_where_a_round_has_no_time_between_tokens_none_is_compared() -> None:
    rounds = [{"direct": side(100, tpot_p50_ms=0.0), "gateway": side(90, tpot_p50_ms=1.0)}]
    assert "tpot_times" not in concluded("streamed", 3, rounds)
