"""Metrics at the data port, where the configuration says so."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from pydantic import ValidationError

from gateway.config.schema import Config
from tests.kit.gateways import gateway, remote
from tests.kit.wire import Response

NOBODY = {"m": remote("http://127.0.0.1:1")}
KEYS = [{"id": "prometheus", "sha256": sha256(b"sk").hexdigest()}]


async def scrape(headers: dict[str, str] | None = None, **settings: Any) -> Response:
    async with gateway(NOBODY, ready=[], **settings) as running, await running.wire() as wire:
        await wire.request("GET", "/metrics", headers=headers or {})
        return await wire.response()


async def test_they_are_not_there_by_default() -> None:
    response = await scrape()
    assert (response.status, response.json["error"]["code"]) == (404, "unknown_url")
    assert "gateway.metrics_at_listen" in response.json["error"]["message"]


async def test_they_are_those_of_the_control_port() -> None:
    response = await scrape(metrics_at_listen=True)
    assert response.status == 200
    assert response.header("content-type") == "text/plain; version=0.0.4; charset=utf-8"
    assert b'headgate_requests_total{code="200"' in response.body
    assert b"headgate_client_connections 1.0" in response.body


async def test_openmetrics_is_written_for_those_who_ask_for_it() -> None:
    response = await scrape({"accept": "application/openmetrics-text; version=1.0.0"}, metrics_at_listen=True)
    assert "application/openmetrics-text; version=1.0.0" in str(response.header("content-type"))
    assert list(parse_openmetrics(response.body.decode()))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(("headers", "status"), [({}, 401), ({"authorization": "Bearer sk"}, 200)])
async def test_where_there_are_keys_a_scrape_needs_one(headers: dict[str, str], status: int) -> None:
    assert (await scrape(headers, metrics_at_listen=True, keys=KEYS)).status == status


def test_with_several_processes_they_would_be_those_of_one() -> None:
    settings = {"metrics_at_listen": True, "processes": 2}
    with pytest.raises(ValidationError, match="needs processes = 1"):
        Config.model_validate({"gateway": settings, "models": NOBODY})
