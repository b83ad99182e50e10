"""``/pooling`` gives what a model makes of texts or of their tokens, and refuses what it does not have."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from tests.engines.onnx.model.endpoints.servers import Servers
from tests.engines.onnx.tiny import CAT, DOG

USAGE = {"completion_tokens": 0, "prompt_tokens_details": None, "completion_tokens_details": None}


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
