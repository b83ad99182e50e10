"""Faults happen to the gateway on the loop that it runs on, and so they do to the engines beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import uvloop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Make the loops of all asynchronous tests below this folder."""
    return {"uvloop": uvloop.new_event_loop}
