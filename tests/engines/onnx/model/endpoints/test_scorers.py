"""A cross-encoder scores both texts of a pair at once, an embedding model compares their vectors."""

from __future__ import annotations

import numpy as np
import pytest

from engines.onnx.model.model import Model
from tests.engines.onnx.model.endpoints.servers import Servers
from tests.engines.onnx.tiny import CAT, CLS, DOG, SEP

USAGE = {"completion_tokens": 0, "prompt_tokens_details": None, "completion_tokens_details": None}


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


async def test_pairs_are_two_kinds_of_tokens(cross_encoder: Model, servers: Servers) -> None:
    del servers
    endpoint = cross_encoder.endpoints["/score"]
    plan = endpoint.plan(endpoint.request_type(text_1="cat", text_2="dog dog"))
    (pair,) = plan.texts
    assert list(pair) == [CLS, CAT, SEP, DOG, DOG, SEP]
    assert getattr(pair, "first", None) == 3


async def test_pairs_can_be_cut(servers: Servers) -> None:
    asked = {"text_1": "good " * 30, "text_2": "bad " * 40, "use_activation": False}
    body = await servers.ask("cross_encoder", "/score", **asked, truncate_prompt_tokens=-1)
    assert (body["usage"]["prompt_tokens"], body["data"][0]["score"]) == (16, 6 - 7)
    body = await servers.ask("cross_encoder", "/score", **asked, max_tokens_per_query=4, max_tokens_per_doc=1)
    assert (body["usage"]["prompt_tokens"], body["data"][0]["score"]) == (8, 4 - 1)
    body = await servers.ask("embedder", "/score", **asked, max_tokens_per_query=4, max_tokens_per_doc=1)
    assert body["usage"]["prompt_tokens"] == 6 + 3
