"""There is a request for each endpoint, which the simulated engine takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.api.routes import ROUTES, EngineRoute
from loadtest.bench.faults.bodies import BODIES, STREAMS, body_for
from loadtest.simulator import SimulatedEngine
from loadtest.simulator.routes import POST_ROUTES
from tests.kit.wire import Wire


def test_every_endpoint_has_one() -> None:
    assert {path for (_, path), route in ROUTES.items() if isinstance(route, EngineRoute)} == BODIES.keys()
    assert set(STREAMS) <= BODIES.keys()


@pytest.mark.parametrize("path", sorted(BODIES.keys() & POST_ROUTES.keys()))
async def test_engines_take_it(tmp_path: Path, path: str) -> None:
    body, media = body_for(path, "m", **({"max_tokens": 1} if path in STREAMS else {}))
    async with SimulatedEngine("m", uds=tmp_path / "a") as engine, await Wire.connect_to(engine.address) as wire:
        await wire.request("POST", path, body, {"content-type": media})
        assert (await wire.response()).status == 200
