"""What the simulator's tests share."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop

from loadtest.simulator import SimulatedEngine
from tests.kit.wire import Wire


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run each asynchronous test below this folder on both kinds of loop."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


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
