"""``/openapi.json`` and ``/docs``, as clients get them."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from tests.gateway.api.local.test_models import get, two_models
from tests.gateway.api.openapi.served import described


async def test_the_api_describes_itself(tmp_path: Path) -> None:
    async with two_models(tmp_path) as running:
        said = await get(running, "/openapi.json")
        assert said.header("content-type") == "application/json"
        assert said.json["info"]["title"] == "Headgate"
        assert said.json["paths"] == described()["paths"]
        assert said.json == (await get(running, "/openapi.json")).json


async def test_the_page_is_html_that_may_run_nothing(tmp_path: Path) -> None:
    async with two_models(tmp_path) as running:
        page = await get(running, "/docs")
        assert page.header("content-type") == "text/html; charset=utf-8"
        assert str(page.header("content-security-policy")).startswith("default-src 'none'")
        assert b"/v1/chat/completions" in page.body


async def test_no_key_is_needed(tmp_path: Path) -> None:
    async with two_models(tmp_path, keys=[{"id": "k", "sha256": sha256(b"sk").hexdigest()}]) as running:
        assert (await get(running, "/v1/models")).status == 401
        assert (await get(running, "/docs")).status == 200
        assert b'"m"' not in (await get(running, "/openapi.json")).body
