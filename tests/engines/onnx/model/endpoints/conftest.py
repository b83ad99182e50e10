"""The servers of the tests of endpoints."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.engines.onnx.model.endpoints.servers import Servers


@pytest.fixture
async def servers(request: pytest.FixtureRequest) -> AsyncIterator[Servers]:
    """Start a server for each tiny model when a test first asks for it."""
    async with AsyncExitStack() as stack:
        yield Servers(request, stack)
