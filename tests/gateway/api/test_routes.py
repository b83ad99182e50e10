"""Which row of the table a request belongs to."""

from __future__ import annotations

from typing import get_args

import pytest

from gateway.api.local.route import GatewayInfo, LocalRequest, LocalResponse, LocalRoute
from gateway.api.routes import ROUTES, TABLE, EngineRoute, RouteTable
from gateway.config.types import Endpoint
from gateway.core.errors import MethodNotAllowed, UnknownUrl


async def answer(_info: GatewayInfo, _request: LocalRequest) -> LocalResponse:
    return LocalResponse()


@pytest.mark.parametrize(("method", "template"), [key for key in ROUTES if "{" not in key[1]])
def test_each_row_is_found_by_its_method_and_path(method: str, template: str) -> None:
    match = TABLE.find(method.encode(), template.encode())
    assert (match.route, match.template, match.parameter) == (ROUTES[method, template], template, "")


def test_a_key_can_be_restricted_to_any_endpoint_that_engines_answer() -> None:
    assert get_args(Endpoint) == tuple(path for (_, path), route in ROUTES.items() if isinstance(route, EngineRoute))


def test_head_is_allowed_where_get_is() -> None:
    for method, template in ROUTES:
        if method == "GET":
            path = template.replace("{id}", "a").encode()
            assert TABLE.find(b"HEAD", path).route is ROUTES[method, template]


@pytest.mark.parametrize(
    ("path", "value"), [(b"/v1/models/m", "m"), (b"/v1/models/org/m", "org/m"), (b"/v1/models/org%2Fm", "org/m")]
)
def test_a_parameter_is_the_rest_of_the_path(path: bytes, value: str) -> None:
    match = TABLE.find(b"GET", path)
    assert (match.template, match.parameter) == ("/v1/models/{id}", value)


@pytest.mark.parametrize(
    ("method", "path", "template", "value"),
    [
        (b"GET", b"/v1/files/file-1", "/v1/files/{id}", "file-1"),
        (b"GET", b"/v1/files/file-1/content", "/v1/files/{id}/content", "file-1"),
        (b"GET", b"/v1/files/content", "/v1/files/{id}", "content"),
        (b"GET", b"/v1/files/a/b", "/v1/files/{id}", "a/b"),
        (b"POST", b"/v1/uploads/upload_1/parts", "/v1/uploads/{id}/parts", "upload_1"),
    ],
)
def test_a_parameter_may_stand_in_the_middle(method: bytes, path: bytes, template: str, value: str) -> None:
    match = TABLE.find(method, path)
    assert (match.template, match.parameter) == (template, value)


@pytest.mark.parametrize("path", [b"/v1/uploads/upload_1", b"/v1/uploads//parts", b"/v1/uploads/parts"])
def test_a_path_without_what_stands_behind_its_parameter_does_not_exist(path: bytes) -> None:
    assert not TABLE.knows(path)


def test_one_path_may_be_answered_here_for_one_method_and_by_engines_for_another() -> None:
    table = RouteTable(
        {
            ("GET", "/v1/things/{id}"): LocalRoute(answer),
            ("DELETE", "/v1/things/{id}"): LocalRoute(answer),
            ("POST", "/v1/things"): ROUTES["POST", "/v1/embeddings"],
            ("GET", "/v1/things"): LocalRoute(answer),
        }
    )
    assert isinstance(table.find(b"POST", b"/v1/things").route, EngineRoute)
    assert isinstance(table.find(b"GET", b"/v1/things").route, LocalRoute)
    assert table.find(b"DELETE", b"/v1/things/7").parameter == "7"
    assert repr(table) == "<RouteTable [1 paths, 1 with a parameter]>"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        (b"GET", b"/v1/chat/completions", "POST"),
        (b"POST", b"/v1/models", "GET, HEAD"),
        (b"POST", b"/v1/models/m", "DELETE, GET, HEAD"),
        (b"PUT", b"/ping", "GET, HEAD, POST"),
    ],
)
def test_another_method_is_told_those_that_there_are(method: bytes, path: bytes, allow: str) -> None:
    with pytest.raises(MethodNotAllowed, match=f"takes {allow} only") as refused:
        TABLE.find(method, path)
    assert refused.value.headers == f"allow: {allow}\r\n".encode()


@pytest.mark.parametrize("path", [b"/", b"/v1", b"/v1/models/", b"/v1/chat", b"/v1/load_lora_adapter"])
def test_what_is_not_in_the_table_does_not_exist(path: bytes) -> None:
    with pytest.raises(UnknownUrl, match=r"/openapi\.json lists the paths there are"):
        TABLE.find(b"POST", path)
    assert not TABLE.knows(path)
    assert TABLE.template_of(path) == "unknown"


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        (b"/chat/completions", "'/v1/chat/completions': the base URL misses '/v1'"),
        (b"/models/m", "'/v1/models/m': the base URL misses '/v1'"),
        (b"/v1/v1/chat/completions", "'/v1/chat/completions': the base URL doubles '/v1'"),
        (b"/v1/classify", "'/classify': the base URL doubles '/v1'"),
        (b"/v1/v1/messages", "'/v1/messages': the base URL doubles '/v1'; .* Anthropic's as http://HOST:PORT\\."),
    ],
)
def test_a_path_that_misses_or_doubles_v1_gets_a_hint(path: bytes, meant: str) -> None:
    with pytest.raises(UnknownUrl, match=meant):
        TABLE.find(b"POST", path)
