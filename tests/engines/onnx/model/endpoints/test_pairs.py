"""Pairs get scores, and documents the order in which they fit a query, in the shapes of vLLM, Cohere and Voyage."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engines.onnx.model.endpoints.servers import Servers


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
async def test_reranking_puts_the_best_document_first(servers: Servers, path: str) -> None:
    documents = ["bad", "good good", "good"]
    body = await servers.ask("cross_encoder", path, query="cat", documents=documents, top_n=2)
    results = body.pop("results")
    assert [(each["index"], each["document"]) for each in results] == [
        (1, {"text": "good good", "multi_modal": None}),
        (2, {"text": "good", "multi_modal": None}),
    ]
    assert results[0]["relevance_score"] > results[1]["relevance_score"]
    assert body == {"id": "score-r", "model": "m", "usage": {"prompt_tokens": 16, "total_tokens": 16}}


async def test_reranking_gives_all_documents_unless_told_otherwise(servers: Servers) -> None:
    body = await servers.ask("embedder", "/rerank", query="cat", documents=["good", "cat", "dog"])
    assert [each["index"] for each in body["results"]] == [1, 2, 0]
    alone = await servers.ask("embedder", "/rerank", query="cat", documents="cat")
    assert [each["relevance_score"] for each in alone["results"]] == [pytest.approx(1)]


@pytest.mark.parametrize("model", ["embedder", "cross_encoder"])
@pytest.mark.parametrize(
    ("fields", "message", "param"),
    [
        ({"text_1": ["a", "b"], "text_2": ["a"]}, "Input lengths must be either 1:1, 1:N or N:N", "text_2"),
        ({"text_1": "a", "text_2": []}, "At least one text_pair element must be given", "text_2"),
        (
            {"text_1": "a", "text_2": "b", "max_tokens_per_doc": 16},
            "max_tokens_per_doc (16) must be less than max_model_len (16).",
            "max_tokens_per_doc",
        ),
        (
            {"text_1": "a", "text_2": ["b", "cat " * 15]},
            "This model's maximum context length is 16 tokens. However, your prompt contains {tokens} input tokens, "
            "which exceeds this limit even without any output tokens. Please reduce the length of the input prompt.",
            "text_2[1]",
        ),
    ],
)
async def test_pairs_that_cannot_be_scored_are_refused_with_the_reason(
    servers: Servers, model: str, fields: dict[str, Any], message: str, param: str
) -> None:
    tokens = 19 if model == "cross_encoder" else 17
    assert await servers.refusal(model, "/score", **fields) == (message.format(tokens=tokens), param)


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
async def test_documents_may_be_objects_with_a_text(servers: Servers, path: str) -> None:
    plain = await servers.ask("cross_encoder", path, query="cat", documents=["bad", "good"])
    documents = ["bad", {"text": "good", "id": 7, "title": None}]
    assert await servers.ask("cross_encoder", path, query={"text": "cat"}, documents=documents) == plain
    alone = await servers.ask("cross_encoder", path, query="cat", documents={"text": "good"})
    assert alone["results"][0]["document"]["text"] == "good"


@pytest.mark.parametrize(
    ("left", "right"), [("queries", "documents"), ("queries", "items"), ("data_1", "data_2"), ("text_1", "text_2")]
)
async def test_both_sides_of_a_score_may_be_objects_with_a_text(servers: Servers, left: str, right: str) -> None:
    plain = await servers.ask("embedder", "/score", **{left: "cat", right: ["dog", "good"]})
    asked = {left: {"text": "cat"}, right: [{"text": "dog"}, "good"]}
    assert (await servers.ask("embedder", "/score", **asked))["data"] == plain["data"]


async def test_a_document_that_is_too_long_is_named_whatever_its_form(servers: Servers) -> None:
    documents = ["cat", {"text": "cat " * 20}]
    _, param = await servers.refusal("embedder", "/rerank", query="cat", documents=documents)
    assert param == "documents[1]"


@pytest.mark.parametrize(
    "fields", [{"documents": [{"content": "cat"}]}, {"documents": [{"text": 5}]}, {"documents": [{"text": None}]}]
)
async def test_an_object_without_a_text_is_refused_with_its_place(servers: Servers, fields: dict[str, Any]) -> None:
    _, param = await servers.refusal("embedder", "/rerank", query="cat", **fields)
    assert (param or "").startswith("documents[0]")


@pytest.mark.parametrize("asked", [{"top_k": 2}, {"top_k": 2.0}, {"top_k": "2", "truncation": True}])
async def test_voyages_clients_find_their_data(servers: Servers, asked: dict[str, Any]) -> None:
    documents = ["bad", "good good", "good"]
    body = await servers.ask("cross_encoder", "/v1/rerank", query="cat", documents=documents, **asked)
    assert (body["object"], body["model"], body["usage"]["total_tokens"]) == ("list", "m", 16)
    results = body["results"]
    assert body["data"] == [
        {"index": index, "relevance_score": each["relevance_score"]}
        for index, each in zip((1, 2), results, strict=True)
    ]


@pytest.mark.parametrize("asked", [{"top_k": None}, {"truncation": False}])
async def test_voyages_clients_get_all_documents_unless_told_otherwise(servers: Servers, asked: dict[str, Any]) -> None:
    body = await servers.ask("embedder", "/rerank", query="cat", documents=["good", "cat"], return_documents=1, **asked)
    assert [(each["index"], each["document"]) for each in body["data"]] == [(1, "cat"), (0, "good")]


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "two"])
async def test_a_top_k_that_is_no_number_of_documents_is_refused(servers: Servers, wrong: Any) -> None:
    assert (await servers.refusal("embedder", "/rerank", query="a", documents=["b"], top_k=wrong))[1] == "top_k"
