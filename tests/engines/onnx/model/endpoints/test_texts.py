"""Each text gets its classes, its vector or OpenAI's verdict, in the order in which the texts were sent."""

from __future__ import annotations

import numpy as np
import pytest

from engines.onnx.categories import CATEGORIES
from tests.engines.onnx.model.endpoints.servers import Servers
from tests.engines.onnx.tiny import GOOD, SEP


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
