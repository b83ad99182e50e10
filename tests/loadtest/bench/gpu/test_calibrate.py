"""A profile is fitted to the engine of the benchmark."""

import os
from dataclasses import replace

from loadtest.bench.gpu.calibrate import calibrate
from loadtest.bench.gpu.engine import Compared
from loadtest.bench.gpu.shapes import SHAPES
from loadtest.simulator import Profile, SimulatedEngine

SHAPE = replace(SHAPES["135m"], prompts=(16, 64), waves=((1, 16), (2, 16)))


async def test_what_was_measured_and_what_fits_it_are_kept_and_a_profile_is_written() -> None:
    said: list[str] = []
    async with SimulatedEngine("m", profile=Profile(step=0.001, num_blocks=500)) as engine:
        found = await calibrate(Compared("m", "", engine.address, "", os.getpid()), SHAPE, said.append)
    assert [(each["what"], each["concurrency"], each["prompt_tokens"]) for each in found["points"]] == [
        ("ttft", 1, 16),
        ("ttft", 1, 64),
        ("gap", 1, 16),
        ("gap", 2, 16),
    ]
    assert found["limits"] == {
        "max_num_seqs": 64,
        "max_num_batched_tokens": 2048,
        "block_size": 16,
        "num_blocks": 500,
    }
    assert found["costs"]["step"] > 0
    assert "| gap | 2 | 16 |" in said[-1]
    assert said[-1].endswith("max_num_seqs=64, max_num_batched_tokens=2048, block_size=16, num_blocks=500)")
