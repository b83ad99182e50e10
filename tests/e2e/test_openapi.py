"""The OpenAPI document is true: its examples, asked of real engines, get responses of the described shapes."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from openapi_schema_validator import validate as validate_value

from tests.e2e.conftest import HANGING_SECONDS, Served

pytestmark = pytest.mark.slow

NOT_SERVED = {"/score", "/v1/score", "/rerank", "/v1/rerank", "/v2/rerank", "/v1/moderations"}
"""No default model scores pairs or moderates."""

NEED_A_FILE = ("/v1/uploads/", "/v1/fine_tuning/", "/v1/batches")
"""Their examples name a file that clients have to upload first."""


def test_examples_get_what_is_described(served: Served) -> None:
    specification: dict[str, Any] = httpx.get(f"{served.address}/openapi.json", timeout=HANGING_SECONDS).json()
    asked = set()
    for path, row in specification["paths"].items():
        content = row.get("post", {}).get("requestBody", {}).get("content", {}).get("application/json", {})
        if "example" not in content or path in NOT_SERVED or path.startswith(NEED_A_FILE):
            continue
        response = httpx.post(f"{served.address}{path}", json=content["example"], timeout=HANGING_SECONDS)
        assert response.status_code == 200, response.text
        schema = row["post"]["responses"]["200"]["content"]["application/json"]["schema"]
        validate_value(response.json(), schema | {"components": specification["components"]})
        asked.add(path)
    assert {"/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/classify"} <= asked


def test_errors_are_as_described(served: Served) -> None:
    specification: dict[str, Any] = httpx.get(f"{served.address}/openapi.json", timeout=HANGING_SECONDS).json()
    response = httpx.post(
        f"{served.address}/v1/embeddings", json={"model": "nobody", "input": "x"}, timeout=HANGING_SECONDS
    )
    schema = {"$ref": "#/components/schemas/Error", "components": specification["components"]}
    validate_value(response.json(), schema)
    assert response.status_code == 404
