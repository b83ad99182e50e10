"""Which endpoints a model has follows from its task, and all of them take requests as leniently as vLLM does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engines.onnx.model.endpoints.table import PATHS
from engines.onnx.model.model import Model
from tests.engines.onnx.model.endpoints.servers import Servers


def test_a_models_endpoints_follow_from_its_task(
    classifier: Model, moderator: Model, embedder: Model, cross_encoder: Model, token_classifier: Model
) -> None:
    pairs = {"/score", "/v1/score", "/rerank", "/v1/rerank", "/v2/rerank"}
    assert set(classifier.endpoints) == {"/classify", "/pooling"}
    assert set(moderator.endpoints) == {"/classify", "/pooling", "/v1/moderations"}
    assert set(embedder.endpoints) == {"/v1/embeddings", "/v1/suggest", "/pooling"} | pairs
    assert set(cross_encoder.endpoints) == {"/classify", "/pooling"} | pairs
    assert set(token_classifier.endpoints) == {"/pooling"}


@pytest.mark.parametrize("path", ["/score", "/rerank", "/v1/moderations", "/pooling"])
async def test_a_removed_parameter_is_refused_everywhere(servers: Servers, path: str) -> None:
    fields = {"text_1": "a", "text_2": "b", "query": "a", "documents": "b", "input": "a", "normalize": True}
    model = "moderator" if path == "/v1/moderations" else "embedder"
    assert await servers.refusal(model, path, **fields) == (
        "Parameter `normalize` was removed; use `use_activation` instead.",
        "normalize",
    )


ENDPOINTS = [
    ("classifier", "/classify"),
    ("classifier", "/pooling"),
    ("cross_encoder", "/classify"),
    ("moderator", "/v1/moderations"),
    ("embedder", "/v1/embeddings"),
    ("embedder", "/v1/suggest"),
    ("embedder", "/pooling"),
    ("token_classifier", "/pooling"),
    *(
        (model, path)
        for model in ("embedder", "cross_encoder")
        for path in ("/score", "/v1/score", "/rerank", "/v1/rerank", "/v2/rerank")
    ),
]
FIELDS: dict[str, Any] = {"input": "cat", "query": "cat", "documents": ["dog", "good"]}
SCORED: dict[str, Any] = {"text_1": "cat", "text_2": ["dog", "good"]}

every_endpoint = pytest.mark.parametrize(("model", "path"), ENDPOINTS)


def test_every_endpoint_is_asked() -> None:
    assert {path for _, path in ENDPOINTS} == set(PATHS)


def fields_of(path: str) -> dict[str, Any]:
    return SCORED if path.endswith("score") else FIELDS


async def result(servers: Servers, model: str, path: str, body: dict[str, Any] | bytes) -> Any:
    """Give the response without the time it was made at."""
    found = await servers.ask_raw(model, path, body)
    return {name: value for name, value in found.items() if name != "created"}


@every_endpoint
async def test_a_byte_order_mark_is_passed_over(servers: Servers, model: str, path: str) -> None:
    fields = fields_of(path)
    marked = b"\xef\xbb\xbf" + json.dumps(fields).encode()
    assert await result(servers, model, path, marked) == await result(servers, model, path, fields)


@every_endpoint
async def test_bytes_that_are_no_utf_8_are_refused_in_every_field(servers: Servers, model: str, path: str) -> None:
    for name in (*fields_of(path), "unknown"):
        body = json.dumps(fields_of(path) | {name: "HERE"}).encode().replace(b"HERE", b"caf\xe9")
        message, _ = await servers.refusal_raw(model, path, body)
        assert message.startswith("The body is not valid JSON: 'utf-8' codec can't decode byte 0xe9")


@every_endpoint
async def test_lax_values_mean_what_the_strict_ones_do(servers: Servers, model: str, path: str) -> None:
    strict = {"truncate_prompt_tokens": 9, "use_activation": False, "add_special_tokens": True, "top_n": 1}
    lax = {"truncate_prompt_tokens": "9", "use_activation": 0.0, "add_special_tokens": "on", "top_n": 1.0}
    fields = fields_of(path)
    assert await result(servers, model, path, fields | lax) == await result(servers, model, path, fields | strict)


@every_endpoint
async def test_null_stands_for_a_default(servers: Servers, model: str, path: str) -> None:
    fields = fields_of(path)
    nulls = dict.fromkeys(("encoding_format", "top_n", "max_tokens_per_doc", "embed_dtype", "priority", "truncate"))
    assert await result(servers, model, path, fields | nulls) == await result(servers, model, path, fields)


LONG: dict[str, Any] = {
    "input": "cat " * 30,
    "query": "cat",
    "documents": ["cat " * 30],
    "text_1": "cat",
    "text_2": ["cat " * 30],
}

CUT: list[dict[str, Any]] = [
    {"truncate_prompt_tokens": -1},
    {"truncate": True},
    {"truncate": "END"},
    {"truncate": "START"},
    {"truncation": "true"},
]
WHOLE: list[dict[str, Any]] = [
    {},
    {"truncate": False},
    {"truncate": "NONE"},
    {"truncation": 0},
    {"truncate_prompt_tokens": None},
]


@every_endpoint
async def test_a_long_text_is_cut_on_demand_in_everyones_words(servers: Servers, model: str, path: str) -> None:
    for asked in CUT:
        await servers.ask_raw(model, path, LONG | asked)
    for asked in WHOLE:
        message, _ = await servers.refusal_raw(model, path, LONG | asked)
        assert message.startswith("This model's maximum context length is 16 tokens")


@every_endpoint
async def test_a_model_may_cut_unless_the_request_says_otherwise(servers: Servers, model: str, path: str) -> None:
    servers.cut_by_default(model)
    unsaid: list[dict[str, Any]] = [{}, {"truncate": None}]
    for asked in unsaid + CUT:
        await servers.ask_raw(model, path, LONG | asked)
    for asked in ({"truncate": False}, {"truncate": "NONE"}, {"truncation": False}):
        message, _ = await servers.refusal_raw(model, path, LONG | asked)
        assert message.startswith("This model's maximum context length is 16 tokens")
