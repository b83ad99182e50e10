"""Commands ask a gateway directly, also where the environment names a proxy for everything."""

from __future__ import annotations

import asyncio

import pytest

from gateway.cli.api_client import ApiClient
from gateway.cli.control_port import ask
from tests.kit.gateways import gateway, remote


@pytest.mark.parametrize("variable", ["http_proxy", "all_proxy"])
async def test_no_proxy_is_asked(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    async with gateway({"m": remote("http://127.0.0.1:1")}, ready=()) as running:
        control = running.control.removeprefix("http://")
        assert (await asyncio.to_thread(ask, control, "GET", "/livez"))[0] == 200
        assert (await asyncio.to_thread(ApiClient(running.address).get, "/v1/files"))["data"] == []
