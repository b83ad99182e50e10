"""An embedder chooses texts that are unlike each other, the more uncertain ones first."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engines.onnx.model.endpoints.servers import Servers

TEXTS = ["cat cat", "cat", "dog good good good good good", "good"]


async def test_texts_are_chosen_by_their_vectors_and_probabilities(servers: Servers) -> None:
    probs = [[0.5, 0.5], [0.55, 0.45], [0.9, 0.1], [0.99, 0.01]]
    body = await servers.ask("embedder", "/v1/suggest", input=TEXTS, probs=probs, count=2)
    assert body["id"] == "sugg-r"
    # The second text is nearly as uncertain as the first, and the same but for a word.
    assert body["data"] == [
        {"index": 0, "uncertainty": pytest.approx(1), "object": "suggestion"},
        {"index": 2, "uncertainty": pytest.approx(0.2), "object": "suggestion"},
    ]
    assert body["usage"]["prompt_tokens"] == 4 + 3 + 8 + 3


async def test_without_probabilities_only_how_unlike_they_are_counts(servers: Servers) -> None:
    body = await servers.ask("embedder", "/v1/suggest", input=TEXTS, count=4)
    assert {item["uncertainty"] for item in body["data"]} == {None}
    assert sorted(item["index"] for item in body["data"]) == [0, 1, 2, 3]
    assert len((await servers.ask("embedder", "/v1/suggest", input="cat"))["data"]) == 1


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": []}, "input"),
        ({"input": ["cat"] * 10_001}, "input"),
        ({"input": ["cat", 3]}, "input[1]"),
        ({"input": ["cat", "dog " * 30]}, "input[1]"),
        ({"input": ["cat"], "count": 0}, "count"),
        ({"input": ["cat"], "count": 1001}, "count"),
        ({"input": ["cat", "dog"], "probs": [[0.5, 0.5]]}, "probs"),
        ({"input": ["cat", "dog"], "probs": [[0.5, 0.5], [1]]}, "probs[1]"),
        ({"input": ["cat"], "probs": [[]]}, "probs[0]"),
        ({"input": ["cat"], "probs": [[1.5]]}, "probs[0][0]"),
        ({"input": ["cat"], "probs": "all"}, "probs"),
    ],
)
async def test_what_is_wrong_is_told_by_its_field(servers: Servers, fields: dict[str, Any], param: str) -> None:
    _, named = await servers.refusal("embedder", "/v1/suggest", **fields)
    assert named == param
