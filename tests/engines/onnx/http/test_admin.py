"""Models are listed, loaded and unloaded over HTTP in the shape of KServe and Triton."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from engines.onnx.serving.repository import Recipe
from gateway.api.routes import TABLE
from tests.engines.onnx.running_server import Running, serving
from tests.engines.onnx.serving.test_repository import FLIPPED, write_version

LOAD, UNLOAD, INDEX = "/v2/repository/models/m/load", "/v2/repository/models/m/unload", "/v2/repository/index"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    recipe = Recipe(write_version(tmp_path, "1"), "classify")
    write_version(tmp_path, "2", FLIPPED)
    async with serving(recipe.load("m"), recipe=recipe, folder=tmp_path) as running:
        yield running


async def label(server: Running, model: str = "m") -> str:
    answer = await server.ask("POST", "/classify", {"model": model, "input": "good"})
    assert answer.status == 200
    return str(answer.json["data"][0]["label"])


async def test_the_index_lists_what_is_served(server: Running) -> None:
    (row,) = (await server.ask("POST", INDEX, {})).json
    assert (row["name"], row["version"], row["state"]) == ("m", "1", "READY")
    assert row["weights"] > 500


async def test_a_load_swaps_the_version(server: Running) -> None:
    assert await label(server) == "good"
    assert (await server.ask("POST", LOAD, {"parameters": {"version": "2"}})).status == 200
    assert await label(server) == "bad"
    assert await server.metric('model_weights_bytes{model="m",version="2"}') > 500
    assert await server.metric('model_weights_bytes{model="m",version="1"}') == 0


async def test_a_load_without_a_body_takes_the_newest(server: Running) -> None:
    assert (await server.ask("POST", LOAD)).status == 200
    assert await label(server) == "bad"


async def test_a_load_can_change_what_belongs_to_the_model(server: Running) -> None:
    parameters = {"version": "1", "labels": "fine, nasty", "max_length": 9}
    assert (await server.ask("POST", LOAD, {"parameters": parameters})).status == 200
    assert await label(server) == "fine"
    assert (await server.ask("GET", "/v1/models")).json["data"][0]["max_model_len"] == 9


async def test_a_load_can_let_a_model_cut_what_is_too_long(server: Running) -> None:
    long = {"input": "good " * 30}
    assert (await server.ask("POST", "/classify", long)).status == 400
    assert (await server.ask("POST", LOAD, {"parameters": {"version": "1", "truncate": True}})).status == 200
    assert (await server.ask("POST", "/classify", long)).status == 200


@pytest.mark.parametrize("lax", [{"max_length": 9.0}, {"max_length": "9", "keep": None}, {"max_length": 9, "keep": 0}])
async def test_a_load_takes_lax_values_as_other_requests_do(server: Running, lax: dict[str, Any]) -> None:
    assert (await server.ask("POST", LOAD, {"parameters": {"version": "1"} | lax})).status == 200
    assert (await server.ask("GET", "/v1/models")).json["data"][0]["max_model_len"] == 9


async def test_kept_versions_answer_by_their_number_and_are_listed(server: Running) -> None:
    assert (await server.ask("POST", LOAD, {"parameters": {"version": "2", "keep": True}})).status == 200
    assert [await label(server, name) for name in ("m", "m:1", "m:2")] == ["bad", "good", "bad"]
    cards = (await server.ask("GET", "/v1/models")).json["data"]
    assert [card["id"] for card in cards] == ["m", "m:1", "m:2"]
    answer = await server.ask("POST", "/tokenize", {"model": "m:7", "prompt": "good"})
    assert answer.json["error"]["message"] == "The model `m:7` does not exist. Valid aliases: m, m:1, m:2."


async def test_a_load_that_fails_is_told_and_the_old_version_answers(server: Running, tmp_path: Path) -> None:
    (tmp_path / "m" / "2" / "model.onnx").write_bytes(b"no graph")
    answer = await server.ask("POST", LOAD, {"parameters": {"version": "2"}})
    assert answer.status == 400
    assert answer.json["error"]["message"].startswith("m was not loaded, and what was served before still is: ")
    assert await label(server) == "good"


@pytest.mark.parametrize("path", [LOAD, UNLOAD])
@pytest.mark.parametrize("body", [b"{", {"parameters": {"folder": "/etc"}}, {"parameters": {"version": 2}}])
async def test_a_body_that_says_something_else_is_refused(server: Running, path: str, body: object) -> None:
    assert (await server.ask("POST", path, body)).status == 400
    assert await label(server) == "good"


@pytest.mark.parametrize(
    ("parameters", "param"),
    [
        ({"max_length": 0}, "parameters.max_length"),
        ({"labels": "good,good"}, "parameters.labels"),
        ({"labels": "good,"}, "parameters.labels"),
    ],
)
async def test_a_load_refuses_what_the_configuration_would_refuse(
    server: Running, parameters: dict[str, Any], param: str
) -> None:
    answer = await server.ask("POST", LOAD, {"parameters": parameters})
    assert (answer.status, answer.json["error"]["param"]) == (400, param)
    assert (await server.ask("POST", INDEX)).json[0]["version"] == "1"


async def test_without_any_model_the_process_is_not_healthy_until_one_is_loaded(server: Running) -> None:
    assert (await server.ask("POST", UNLOAD)).status == 200
    assert (await server.ask("GET", "/health")).status == 503
    assert (await server.ask("POST", "/classify", {"model": "m", "input": "good"})).status == 404
    assert (await server.ask("POST", INDEX)).json == []
    assert (await server.ask("POST", LOAD, {"parameters": {"task": "classify"}})).status == 200
    assert (await server.ask("GET", "/health")).status == 200


async def test_an_unload_of_nothing_is_not_found(server: Running) -> None:
    assert (await server.ask("POST", "/v2/repository/models/n/unload")).status == 404


@pytest.mark.parametrize("path", [LOAD, UNLOAD, INDEX])
def test_the_gateway_does_not_pass_these_paths(path: str) -> None:
    assert not TABLE.knows(path.encode())
