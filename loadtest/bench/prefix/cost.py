"""What routing by prefix costs the gateway for each request, beside the cheapest policy, as prompts grow."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

from loadtest.bench.deployment import DeploymentSpec, deployed, instant_engine
from loadtest.bench.scaling import GatewayLoad, sample

_REPLICAS = 4

SETUPS = {
    "least_in_flight": DeploymentSpec(replicas=_REPLICAS, policy="least_in_flight"),
    "prefix": DeploymentSpec(replicas=_REPLICAS, policy="prefix"),
    "limited": DeploymentSpec(replicas=_REPLICAS, policy="prefix", limited=True),
}
"""The cheapest policy, the one that is measured, and that one with limits and a priority for the keys."""

BODY_BYTES = (2000, 4000, 40_000, 400_000)
"""Of a whole request: prompts of about 500, 1,000, 10,000 and 100,000 tokens."""


async def measure_cost(*, seconds: float, rounds: int, log: Callable[[str], None]) -> list[dict[str, Any]]:
    """Measure the CPU time of a unary request in each setup, in rounds that take turns; return the medians."""
    measured: dict[tuple[int, str], list[float]] = {}
    failed = dict.fromkeys(BODY_BYTES, 0)
    async with instant_engine(hosts=_REPLICAS) as engine:
        for number in range(rounds):
            for setup, spec in SETUPS.items():
                async with deployed(spec, engine) as gateway:
                    for size in BODY_BYTES:
                        found = await sample(gateway, GatewayLoad(spec=spec, body_bytes=size), "request", seconds)
                        measured.setdefault((size, setup), []).append(found.cpu_us)
                        failed[size] += found.failed
                        log(f"prefix cost, {setup}, {size:,} bytes: {found.cpu_us:.1f} us (round {number + 1})")
    return [
        {
            "body_bytes": size,
            "failed": failed[size],
            **{f"{setup}_cpu_us": round(median(measured[size, setup]), 2) for setup in SETUPS},
            "rounds": {setup: [round(each, 2) for each in measured[size, setup]] for setup in SETUPS},
        }
        for size in BODY_BYTES
    ]
