"""What the simulator's tests share."""

from collections.abc import AsyncIterator

import pytest

from loadtest.engine import SimulatedEngine
from tests.kit.wire import Wire


@pytest.fixture
async def engine() -> AsyncIterator[SimulatedEngine]:
    """An engine without delays or faults."""
    async with SimulatedEngine() as running:
        yield running


@pytest.fixture
async def wire(engine: SimulatedEngine) -> AsyncIterator[Wire]:
    """A connection to it."""
    async with await Wire.connect_to(engine.address) as connected:
        yield connected
