"""Engines are watched on uvloop, and so they are in tests; and what the tests of processes share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import uvloop

from tests.engines.child_processes import Roll


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Make the loops of all asynchronous tests below this folder."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def roll(tmp_path: Path) -> Iterator[Roll]:
    """Let processes call out their pids; those that are still there in the end are killed."""
    with Roll(tmp_path) as opened:
        yield opened
