"""What clients see of each endpoint: the shapes of vLLM and OpenAI, and refusals in their words."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import numpy as np
import pytest

from engines.onnx.categories import CATEGORIES
from engines.onnx.model.model import Model
from tests.engines.onnx.running_server import Running, serving
from tests.engines.onnx.tiny import CAT, CLS, DOG, GOOD, SEP

USAGE = {"completion_tokens": 0, "prompt_tokens_details": None, "completion_tokens_details": None}


class Servers:
    """A server for each tiny model, started when a test first asks for it."""

    def __init__(self, request: pytest.FixtureRequest, stack: AsyncExitStack) -> None:
        self._request = request
        self._stack = stack

    async def ask(self, model: str, path: str, **fields: Any) -> Any:
        """Give the answer's body, which must be a success."""
        server = await self._server(model)
        answer = await server.ask("POST", path, fields, x_request_id="r")
        assert answer.status == 200, answer.body
        return answer.json

    async def refusal(self, model: str, path: str, **fields: Any) -> tuple[str, str | None]:
        """Give the message and the field of a 400."""
        answer = await (await self._server(model)).ask("POST", path, fields)
        assert answer.status == 400, answer.body
        return answer.json["error"]["message"], answer.json["error"]["param"]

    async def _server(self, model: str) -> Running:
        loaded: Model = self._request.getfixturevalue(model)
        return await self._stack.enter_async_context(serving(loaded))


@pytest.fixture
async def servers(request: pytest.FixtureRequest) -> AsyncIterator[Servers]:
    async with AsyncExitStack() as stack:
        yield Servers(request, stack)


def test_a_models_endpoints_follow_from_its_task(
    classifier: Model, moderator: Model, embedder: Model, cross_encoder: Model, token_classifier: Model
) -> None:
    pairs = {"/score", "/v1/score", "/rerank", "/v1/rerank", "/v2/rerank"}
    assert set(classifier.endpoints) == {"/classify", "/pooling"}
    assert set(moderator.endpoints) == {"/classify", "/pooling", "/v1/moderations"}
    assert set(embedder.endpoints) == {"/v1/embeddings", "/pooling"} | pairs
    assert set(cross_encoder.endpoints) == {"/classify", "/pooling"} | pairs
    assert set(token_classifier.endpoints) == {"/pooling"}


async def test_pooling_gives_vectors_of_an_embedder(servers: Servers) -> None:
    body = await servers.ask("embedder", "/pooling", input=["cat"], add_special_tokens=False)
    assert body.pop("created") > 1.7e9
    assert body.pop("data") == [{"index": 0, "object": "pooling", "data": pytest.approx([0, 0.6, 0.8])}]
    assert body == {
        "id": "pooling-r",
        "object": "list",
        "model": "m",
        "usage": USAGE | {"prompt_tokens": 1, "total_tokens": 1},
    }


async def test_pooling_gives_vectors_of_each_token_of_an_embedder(servers: Servers) -> None:
    asked = {"input": ["cat dog", "good"], "task": "token_embed"}
    body = await servers.ask("embedder", "/pooling", **asked)
    first, second = (np.array(item["data"]) for item in body["data"])
    assert first == pytest.approx(np.array([[1, 0, 0], [0, 0.6, 0.8], [0, 0.8, 0.6], [0, 0, 0]]))
    assert second == pytest.approx(np.array([[1, 0, 0], [1, 0, 0], [0, 0, 0]]))
    assert [item["object"] for item in body["data"]] == ["pooling", "pooling"]
    assert body["usage"]["prompt_tokens"] == 4 + 3
    raw = await servers.ask("embedder", "/pooling", **asked, use_activation=False)
    assert raw["data"][0]["data"] == [[0.5, 0, 0], [0, 3, 4], [0, 4, 3], [0, 0, 0]]
    packed = await servers.ask("embedder", "/pooling", input=[[CAT, DOG]], task="token_embed", encoding_format="base64")
    numbers = np.frombuffer(base64.b64decode(packed["data"][0]["data"]), "<f4")
    assert numbers == pytest.approx(np.array([0, 0.6, 0.8, 0, 0.8, 0.6]))


async def test_pooling_gives_probabilities_of_a_classifier(servers: Servers) -> None:
    body = await servers.ask("classifier", "/pooling", input="good", task="classify")
    assert body["data"] == [{"index": 0, "object": "pooling", "data": pytest.approx([0.880797, 0.119203])}]
    raw = await servers.ask("classifier", "/pooling", input="good", use_activation=False)
    assert raw["data"][0]["data"] == [2, 0]


async def test_pooling_gives_probabilities_of_each_token(servers: Servers) -> None:
    body = await servers.ask("token_classifier", "/pooling", input=["a cat", "dog"], task="token_classify")
    first, second = (np.array(item["data"]) for item in body["data"])
    assert (first.shape, second.shape) == ((4, 3), (3, 3))
    assert first.argmax(axis=1).tolist() == [0, 0, 1, 0]
    assert first.sum(axis=1) == pytest.approx(np.ones(4))
    assert "spans" not in body["data"][0]


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({}, "<f4"),
        ({"endianness": "little"}, "<f4"),
        ({"endianness": "big"}, ">f4"),
        ({"embed_dtype": "float16"}, "<f2"),
        ({"embed_dtype": "float16", "endianness": "big"}, ">f2"),
    ],
)
@pytest.mark.parametrize(("path", "field"), [("/v1/embeddings", "embedding"), ("/pooling", "data")])
async def test_base64_holds_the_numbers_bytes(
    servers: Servers, path: str, field: str, options: dict[str, Any], kind: str
) -> None:
    asked = {"input": [[CAT]], "encoding_format": "base64"} | options
    (item,) = (await servers.ask("embedder", path, **asked))["data"]
    assert np.frombuffer(base64.b64decode(item[field]), kind).tolist() == pytest.approx([0, 0.6, 0.8], abs=1e-3)


async def test_spans_are_places_in_the_text_as_the_client_wrote_it(servers: Servers) -> None:
    text = "\N{GRINNING FACE} the Cat  dog, a cat"
    body = await servers.ask("token_classifier", "/pooling", input=text, return_spans=True)
    (item,) = body["data"]
    assert [(span["label"], span["start"], span["end"], span["text"]) for span in item["spans"]] == [
        ("PET", 6, 14, "Cat  dog"),
        ("PET", 18, 21, "cat"),
    ]
    assert item["spans"][0]["score"] == pytest.approx(np.exp(3) / (np.exp(3) + 2))
    assert len(item["data"]) == body["usage"]["prompt_tokens"]


@pytest.mark.parametrize("side", ["left", "right"])
async def test_spans_of_a_cut_text_are_places_in_the_whole_one(servers: Servers, side: str) -> None:
    text = "cat " * 3000
    asked = {"input": [text], "truncate_prompt_tokens": 4, "truncation_side": side, "return_spans": True}
    (item,) = (await servers.ask("token_classifier", "/pooling", **asked))["data"]
    first = 0 if side == "right" else len(text) - 8
    assert [(span["start"], span["end"]) for span in item["spans"]] == [(first, first + 3), (first + 4, first + 7)]


@pytest.mark.parametrize(
    ("model", "fields", "message", "param"),
    [
        (
            "embedder",
            {"task": "classify"},
            "Unsupported task: 'classify' Supported tasks: ('embed', 'token_embed')",
            "task",
        ),
        (
            "sentence_embedder",
            {"task": "token_embed"},
            "Unsupported task: 'token_embed' Supported tasks: ('embed',)",
            "task",
        ),
        (
            "embedder",
            {"task": "token_embed", "input": ["cat " * 14] * 513},
            "A request gets the vectors of at most 8192 tokens, but its inputs have 8208; send it in parts.",
            "input",
        ),
        (
            "cross_encoder",
            {"task": "embed"},
            "Unsupported task: 'embed' Supported tasks: ('classify',)",
            "task",
        ),
        ("embedder", {"task": "score"}, "`score` task was removed; use `classify` instead.", "task"),
        ("embedder", {"dimensions": 2}, "dimensions is currently not supported", "dimensions"),
        ("embedder", {"return_spans": True}, "Model 'm' does not classify tokens", "return_spans"),
        (
            "token_classifier",
            {"input": [[CAT]], "return_spans": True},
            "Token ids have no places in a text; give texts",
            "return_spans",
        ),
    ],
)
async def test_pooling_refuses_what_a_model_does_not_have(
    servers: Servers, model: str, fields: dict[str, Any], message: str, param: str
) -> None:
    assert await servers.refusal(model, "/pooling", **{"input": "cat"} | fields) == (message, param)


@pytest.mark.parametrize("path", ["/score", "/v1/score"])
async def test_a_score_of_an_embedder_is_the_cosine_of_both_texts(servers: Servers, path: str) -> None:
    asked = {"text_1": "cat", "text_2": ["cat", "dog", "bad"]}
    body = await servers.ask("embedder", path, **asked)
    assert body.pop("created") > 1.7e9
    assert [(item["index"], item["object"]) for item in body["data"]] == [(0, "score"), (1, "score"), (2, "score")]
    scores = [item["score"] for item in body.pop("data")]
    assert scores[0] == pytest.approx(1)
    assert 0.9 < scores[1] < 1
    assert body == {
        "id": "score-r",
        "object": "list",
        "model": "m",
        "usage": USAGE | {"prompt_tokens": 12, "total_tokens": 12},
    }


async def test_a_score_of_a_cross_encoder_is_of_both_texts_at_once(servers: Servers) -> None:
    asked = {"queries": ["good", "bad"], "documents": ["good", "bad bad"]}
    body = await servers.ask("cross_encoder", "/score", **asked)
    assert [item["score"] for item in body["data"]] == pytest.approx([1 / (1 + np.exp(-2)), 1 / (1 + np.exp(3))])
    assert body["usage"]["prompt_tokens"] == 5 + 6
    raw = await servers.ask("cross_encoder", "/score", **asked, use_activation=False)
    assert [item["score"] for item in raw["data"]] == [2, -3]


async def test_a_cross_encoder_has_one_class_for_each_text_alone(servers: Servers) -> None:
    yes, no = 1 / (1 + np.exp(-2)), 1 / (1 + np.exp(1))
    body = await servers.ask("cross_encoder", "/classify", input=["good good", "bad"])
    assert (body["id"], body["usage"]["prompt_tokens"]) == ("classify-r", 4 + 3)
    assert body["data"] == [
        {"index": 0, "label": "LABEL_0", "probs": [pytest.approx(yes)], "num_classes": 1},
        {"index": 1, "label": "LABEL_0", "probs": [pytest.approx(no)], "num_classes": 1},
    ]
    raw = await servers.ask("cross_encoder", "/classify", input=[[GOOD, SEP, GOOD]], use_activation=False)
    assert raw["data"][0]["probs"] == [2]
    pooled = await servers.ask("cross_encoder", "/pooling", input=["good good", "bad"], task="classify")
    assert [item["data"] for item in pooled["data"]] == [[pytest.approx(yes)], [pytest.approx(no)]]


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


async def test_pairs_can_be_cut(servers: Servers) -> None:
    asked = {"text_1": "good " * 30, "text_2": "bad " * 40, "use_activation": False}
    body = await servers.ask("cross_encoder", "/score", **asked, truncate_prompt_tokens=-1)
    assert (body["usage"]["prompt_tokens"], body["data"][0]["score"]) == (16, 6 - 7)
    body = await servers.ask("cross_encoder", "/score", **asked, max_tokens_per_query=4, max_tokens_per_doc=1)
    assert (body["usage"]["prompt_tokens"], body["data"][0]["score"]) == (8, 4 - 1)
    body = await servers.ask("embedder", "/score", **asked, max_tokens_per_query=4, max_tokens_per_doc=1)
    assert body["usage"]["prompt_tokens"] == 6 + 3


async def test_a_moderation_says_what_was_judged_and_no_more(servers: Servers) -> None:
    body = await servers.ask("moderator", "/v1/moderations", input=["bad", "good", "cat"])
    results = body.pop("results")
    assert body == {"id": "modr-r", "model": "m"}
    assert [result["flagged"] for result in results] == [True, True, False]
    bad = results[0]
    for part in ("categories", "category_scores", "category_applied_input_types"):
        assert set(bad[part]) == {*CATEGORIES, "x-good"}
    assert bad["categories"]["hate"] is True
    assert bad["category_scores"]["hate"] == pytest.approx(0.880797)
    assert bad["category_applied_input_types"]["hate"] == ["text"]
    assert [bad[part]["violence"] for part in ("categories", "category_scores", "category_applied_input_types")] == [
        False,
        0.0,
        [],
    ]
    assert results[1]["categories"]["x-good"] is True


async def test_moderation_refuses_what_is_too_long_and_cuts_it_on_demand(servers: Servers) -> None:
    message, param = await servers.refusal("moderator", "/v1/moderations", input=["bad", "bad " * 15])
    assert (message[:48], param) == ("This model's maximum context length is 16 tokens", "input[1]")
    body = await servers.ask("moderator", "/v1/moderations", input="bad " * 15, truncate_prompt_tokens=-1)
    assert body["results"][0]["flagged"] is True


@pytest.mark.parametrize("path", ["/score", "/rerank", "/v1/moderations", "/pooling"])
async def test_a_removed_parameter_is_refused_everywhere(servers: Servers, path: str) -> None:
    fields = {"text_1": "a", "text_2": "b", "query": "a", "documents": "b", "input": "a", "normalize": True}
    model = "moderator" if path == "/v1/moderations" else "embedder"
    assert await servers.refusal(model, path, **fields) == (
        "Parameter `normalize` was removed; use `use_activation` instead.",
        "normalize",
    )


async def test_pairs_are_two_kinds_of_tokens(cross_encoder: Model, servers: Servers) -> None:
    del servers
    endpoint = cross_encoder.endpoints["/score"]
    plan = endpoint.plan(endpoint.request_type(text_1="cat", text_2="dog dog"))
    (pair,) = plan.texts
    assert list(pair) == [CLS, CAT, SEP, DOG, DOG, SEP]
    assert getattr(pair, "first", None) == 3
