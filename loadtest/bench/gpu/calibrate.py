"""A profile for the simulator from the engine of this benchmark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from loadtest.bench.gpu.engine import Compared, described
from loadtest.bench.gpu.shapes import Shape
from loadtest.simulator.calibration.fit import fit, profile_text, table
from loadtest.simulator.calibration.measurement import measure
from loadtest.simulator.profile import COSTS


async def calibrate(target: Compared, shape: Shape, log: Callable[[str], None]) -> dict[str, Any]:
    """Measure the engine itself, without the gateway, and fit the costs of the simulator to it.

    Returns what ``python -m loadtest.simulator.calibration --save`` writes, with the engine and its limits. Raises
    ``RuntimeError`` if a request fails.
    """
    points = await measure(target.direct, target.model, prompts=shape.prompts, waves=shape.waves, tell=log)
    costs = fit(points)
    engine = await described(target)
    limits = {"max_num_seqs": shape.max_num_seqs, "max_num_batched_tokens": shape.max_num_batched_tokens}
    limits |= {name: engine[name] for name in ("block_size", "num_blocks") if name in engine}
    log(f"calibrated:\n{table(points, costs)}\n\n{profile_text(costs, limits)}")
    return {
        "model": target.model,
        "engine": engine,
        "costs": dict(zip(COSTS, costs, strict=True)),
        "limits": limits,
        "points": [asdict(point) for point in points],
    }
