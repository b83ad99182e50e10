"""Writes the OpenAPI document: what is served comes from the route table, the words from the table of endpoints.

The document follows the OpenAPI Specification 3.1, whose schemas are JSON Schema 2020-12.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.api.openapi.endpoints import ENDPOINTS, Endpoint, Shape
from gateway.api.openapi.responses import Error

_REFERENCE = "#/components/schemas/{name}"

_DESCRIPTION = (
    "One address for all models. Paths and bodies are those of OpenAI, vLLM and Anthropic; a field that is not listed "
    "here reaches the engine as it is. Every response has an `x-request-id`. `x-request-timeout-ms` says for how many "
    "milliseconds an answer is of use. Refusals that waiting helps against carry `retry-after`."
)


@dataclass(frozen=True, slots=True)
class ServedRoute:
    """What the document needs to know of a row of the route table.

    ``guarded``: a key is needed where keys are configured. ``form``: its body is a form. ``streams``: it may answer
    with events.
    """

    method: str
    path: str
    guarded: bool
    form: bool
    streams: bool


def document(served: list[ServedRoute], version: str) -> dict[str, Any]:
    """Describe what is served. Raises ``KeyError`` for a route that has no words."""
    shapes: set[Shape] = {Error}
    paths: dict[str, dict[str, Any]] = {}
    for route in served:
        endpoint = ENDPOINTS[route.method, route.path]
        shapes.update(shape for shape in (endpoint.takes, endpoint.gives) if shape is not None)
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, endpoint)
    _, schemas = msgspec.json.schema_components(
        sorted(shapes, key=lambda shape: shape.__name__), ref_template=_REFERENCE
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": "Headgate", "version": version, "description": _DESCRIPTION},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "Where keys are configured."}
            },
        },
    }


def _operation(route: ServedRoute, endpoint: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "tags": [endpoint.group],
        "summary": endpoint.summary,
        "operationId": _operation_id(route),
        "responses": {"200": _success(route, endpoint), "default": _body_of(Error, "application/json", "Why not.")},
    }
    if parameters := _parameters(route, endpoint):
        operation["parameters"] = parameters
    if endpoint.takes is not None:
        media = "multipart/form-data" if route.form else "application/json"
        content = _reference(endpoint.takes)
        if endpoint.example is not None:
            content["example"] = endpoint.example
        operation["requestBody"] = {"required": True, "content": {media: content}}
    if route.guarded:
        # Both: a gateway without keys asks for none.
        operation["security"] = [{"key": []}, {}]
    return operation


def _operation_id(route: ServedRoute) -> str:
    words = route.path.replace("{", "").replace("}", "").replace(".", "/").split("/")
    return "_".join([route.method.lower(), *filter(None, words)])


def _parameters(route: ServedRoute, endpoint: Endpoint) -> list[dict[str, Any]]:
    text = {"type": "string"}
    found: list[dict[str, Any]] = []
    if "{id}" in route.path:
        found.append({"name": "id", "in": "path", "required": True, "schema": text})
    for name, line in (endpoint.query or {}).items():
        found.append({"name": name, "in": "query", "description": line, "schema": text})
    return found


def _success(route: ServedRoute, endpoint: Endpoint) -> dict[str, Any]:
    if not endpoint.media:
        return {"description": "An empty body."}
    if endpoint.gives is None:
        schema: Mapping[str, Any] = {"type": "object"} if endpoint.media == "application/json" else {"type": "string"}
        return {"description": endpoint.summary, "content": {endpoint.media: {"schema": schema}}}
    response = _body_of(endpoint.gives, endpoint.media, endpoint.summary)
    if route.streams:
        response["content"]["text/event-stream"] = {"schema": {"type": "string"}}
    return response


def _body_of(shape: Shape, media: str, description: str) -> dict[str, Any]:
    return {"description": description, "content": {media: _reference(shape)}}


def _reference(shape: Shape) -> dict[str, Any]:
    return {"schema": {"$ref": _REFERENCE.format(name=shape.__name__)}}
