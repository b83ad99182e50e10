"""The data plane runs on uvloop, and so do its tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import uvloop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Make the loops of all asynchronous tests below this folder."""
    return {"uvloop": uvloop.new_event_loop}
