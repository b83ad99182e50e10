"""Responses hold what vLLM's hold."""

from __future__ import annotations

import json

import msgspec

from engines.onnx.protocol.responses import Classification, ListResponse, Usage


def test_a_response_holds_what_vllms_holds() -> None:
    item = Classification(index=0, label="good", probs=[1.0, 0.0], num_classes=2)
    response = ListResponse(
        id="classify-1",
        created=5,
        model="m",
        data=[item],
        usage=Usage(prompt_tokens=3, total_tokens=3),
    )
    assert json.loads(msgspec.json.encode(response)) == {
        "id": "classify-1",
        "object": "list",
        "created": 5,
        "model": "m",
        "data": [{"index": 0, "label": "good", "probs": [1.0, 0.0], "num_classes": 2}],
        "usage": {
            "prompt_tokens": 3,
            "total_tokens": 3,
            "completion_tokens": 0,
            "prompt_tokens_details": None,
            "completion_tokens_details": None,
        },
    }
