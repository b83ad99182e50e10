"""The OpenAPI document: valid, whole, and true of what the gateway answers by itself."""

from __future__ import annotations

from typing import Any

import pytest
from openapi_schema_validator import validate as validate_value
from openapi_spec_validator import validate

from gateway.api.openapi.document import ServedRoute, document
from gateway.api.openapi.endpoints import ENDPOINTS
from gateway.api.routes import ROUTES, EngineRoute
from tests.gateway.api.openapi.served import described


def test_the_document_is_valid() -> None:
    validate(described())


def test_each_route_is_described_and_nothing_else_is() -> None:
    assert ENDPOINTS.keys() == ROUTES.keys()
    paths = described()["paths"]
    assert {(method.upper(), path) for path, row in paths.items() for method in row} == ROUTES.keys()


def test_each_body_that_an_endpoint_takes_has_its_shape() -> None:
    for path, row in described()["paths"].items():
        for method, operation in row.items():
            route = ROUTES[method.upper(), path]
            if isinstance(route, EngineRoute):
                media = "multipart/form-data" if route.multipart else "application/json"
                assert operation["requestBody"]["content"].keys() == {media}
                assert ("text/event-stream" in operation["responses"]["200"]["content"]) == route.streams


def test_examples_fit_their_own_schemas() -> None:
    specification = described()
    examples = 0
    for row in specification["paths"].values():
        for operation in row.values():
            for content in operation.get("requestBody", {"content": {}})["content"].values():
                if "example" in content:
                    schema = content["schema"] | {"components": specification["components"]}
                    validate_value(content["example"], schema)
                    examples += 1
    assert examples >= 15


def test_a_key_is_asked_for_where_the_route_is_guarded() -> None:
    paths = described()["paths"]
    assert paths["/v1/models"]["get"]["security"] == [{"key": []}, {}]
    assert "security" not in paths["/health"]["get"]


def test_parameters_of_paths_and_queries_are_named() -> None:
    def names(operation: Any) -> set[tuple[str, str]]:
        return {(each["name"], each["in"]) for each in operation.get("parameters", ())}

    paths = described()["paths"]
    assert names(paths["/v1/files/{id}"]["get"]) == {("id", "path")}
    assert names(paths["/v1/files"]["get"]) == {(name, "query") for name in ("limit", "after", "purpose", "order")}


def test_a_route_without_words_is_refused() -> None:
    with pytest.raises(KeyError):
        document([ServedRoute("GET", "/nowhere", guarded=False, form=False, streams=False)], "1")
