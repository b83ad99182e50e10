"""Pages of a server are read over TCP and over a Unix socket, and a failure says why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadtest.fetch import FetchError, fetch
from loadtest.simulator import SimulatedEngine


async def test_a_page_is_read_at_either_kind_of_address(tmp_path: Path) -> None:
    async with SimulatedEngine("m") as tcp, SimulatedEngine("m", uds=tmp_path / "s") as unix:
        for url in (tcp.address, f"{tcp.address}/v1", unix.address):
            assert json.loads(await fetch(url, "/v1/models"))["data"][0]["id"] == "m"


async def test_failures_say_why(tmp_path: Path) -> None:
    async with SimulatedEngine() as engine:
        with pytest.raises(FetchError, match="status 404"):
            await fetch(engine.address, "/none")
    with pytest.raises(FetchError, match="none"):
        await fetch(f"unix:{tmp_path}/none", "/metrics")
