"""A class is explained by what it loses without each word, and what that costs is limited and counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.onnx.model.endpoints.explanations import MAX_TOKENS
from engines.onnx.model.model import Model, load
from tests.engines.onnx.model.endpoints.servers import Servers
from tests.engines.onnx.tiny import GOOD, write_classifier


def good(words: int) -> float:
    """Give the probability that a text is good by so many good words more than bad ones."""
    return float(1 / (1 + np.exp(-2 * words)))


@pytest.fixture(scope="module")
def long_classifier(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Load a classifier that takes 12,000 tokens."""
    return load("m", write_classifier(tmp_path_factory.mktemp("long")), "classify", max_length=12_000)


@pytest.fixture(scope="module")
def multi_label(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Load a classifier each of whose labels holds or not, whatever the others do."""
    folder = write_classifier(tmp_path_factory.mktemp("multi"))
    config = {"id2label": {"0": "good", "1": "bad"}, "problem_type": "multi_label_classification"}
    (folder / "config.json").write_text(json.dumps(config))
    return load("m", folder, "classify")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Load a classifier whose texts get no special tokens."""
    folder = write_classifier(tmp_path_factory.mktemp("bare"))
    file = Path(folder) / "tokenizer.json"
    content = json.loads(file.read_text())
    content["post_processor"] = None
    file.write_text(json.dumps(content))
    return load("m", folder, "classify")


async def test_each_word_has_its_place_and_what_the_class_loses_without_it(servers: Servers) -> None:
    body = await servers.ask("classifier", "/classify", input="good cat  bad good", explain=True)
    (item,) = body["data"]
    explanation = item.pop("explanation")
    assert item == {"index": 0, "label": "good", "probs": pytest.approx([good(1), 1 - good(1)]), "num_classes": 2}
    assert explanation == {
        "label": "good",
        "words": [
            {"text": "good", "start": 0, "end": 4, "weight": pytest.approx(good(1) - good(0), abs=1e-6)},
            {"text": "cat", "start": 5, "end": 8, "weight": pytest.approx(0, abs=1e-6)},
            {"text": "bad", "start": 10, "end": 13, "weight": pytest.approx(good(1) - good(2), abs=1e-6)},
            {"text": "good", "start": 14, "end": 18, "weight": pytest.approx(good(1) - good(0), abs=1e-6)},
        ],
    }


async def test_the_usage_is_what_was_computed(servers: Servers) -> None:
    body = await servers.ask("classifier", "/classify", input=["good cat bad good", "bad"], explain=True)
    assert body["usage"]["prompt_tokens"] == (6 + 4 * 5) + (3 + 2)
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"]


async def test_the_response_without_reasons_is_as_before(servers: Servers) -> None:
    plain = await servers.ask("classifier", "/classify", input="good bad")
    for off in (False, None, "false"):
        body = await servers.ask("classifier", "/classify", input="good bad", explain=off)
        assert body["data"] == plain["data"]
        assert "explanation" not in body["data"][0]


async def test_several_texts_are_explained_in_their_order(servers: Servers) -> None:
    body = await servers.ask("classifier", "/classify", input=["bad cat", "good", "cat"], explain=True)
    found = [(item["label"], [word["text"] for word in item["explanation"]["words"]]) for item in body["data"]]
    assert found == [("bad", ["bad", "cat"]), ("good", ["good"]), ("good", ["cat"])]


async def test_one_word_is_weighed_against_a_text_of_no_words(servers: Servers) -> None:
    body = await servers.ask("classifier", "/classify", input="good", explain=True)
    (word,) = body["data"][0]["explanation"]["words"]
    assert word["weight"] == pytest.approx(good(1) - good(0), abs=1e-6)


async def test_one_word_without_special_tokens_cannot_be_explained(servers: Servers) -> None:
    message, param = await servers.refusal("bare", "/classify", input="good", explain=True)
    assert (message[:45], param) == ("The text is one word, and without it nothing ", "input")
    message, param = await servers.refusal("bare", "/classify", input=["good bad", "good"], explain=True)
    assert param == "input[1]"
    message, param = await servers.refusal(
        "classifier", "/classify", input="good", explain=True, add_special_tokens=False
    )
    assert param == "input"


async def test_another_label_and_the_strongest_words_can_be_asked_for(servers: Servers) -> None:
    asked: dict[str, Any] = {"input": "cat good good bad dog", "explain": {"label": "bad", "top": 1}}
    body = await servers.ask("classifier", "/classify", **asked)
    assert body["data"][0]["label"] == "good"
    explanation = body["data"][0]["explanation"]
    assert explanation["label"] == "bad"
    # Without a good word the bad class gains more than it loses without the bad one.
    assert [(word["text"], word["start"]) for word in explanation["words"]] == [("good", 4)]
    assert explanation["words"][0]["weight"] == pytest.approx(good(0) - good(1), abs=1e-6)


async def test_labels_that_hold_side_by_side_have_reasons_of_their_own(servers: Servers) -> None:
    weights = {}
    for label in ("good", "bad"):
        body = await servers.ask("multi_label", "/classify", input="good bad cat", explain={"label": label})
        weights[label] = [word["weight"] for word in body["data"][0]["explanation"]["words"]]
    assert weights["good"] == pytest.approx([good(1) - 0.5, 0, 0], abs=1e-6)
    assert weights["bad"] == pytest.approx([0, good(1) - 0.5, 0], abs=1e-6)


async def test_weights_are_in_the_unit_of_the_classes(servers: Servers) -> None:
    body = await servers.ask("classifier", "/classify", input="good bad", explain=True, use_activation=False)
    assert [word["weight"] for word in body["data"][0]["explanation"]["words"]] == [2, 0]


async def test_a_cross_encoder_is_explained_as_the_classifier_that_it_is(servers: Servers) -> None:
    body = await servers.ask("cross_encoder", "/classify", input="good bad", explain=True, use_activation=False)
    assert body["data"][0]["explanation"]["label"] == "LABEL_0"
    assert [word["weight"] for word in body["data"][0]["explanation"]["words"]] == [1, -1]


async def test_many_words_are_left_out_in_groups(servers: Servers) -> None:
    body = await servers.ask(
        "classifier", "/classify", input="good good cat cat bad bad", explain={"max_words": 3}, use_activation=False
    )
    words = body["data"][0]["explanation"]["words"]
    assert [(word["text"], word["weight"]) for word in words] == [("good good", 4), ("cat cat", 0), ("bad bad", 0)]


async def test_ten_thousand_words_need_few_groups_or_are_refused_by_the_limit(servers: Servers) -> None:
    text = "cat " * 9_999 + "good"
    message, param = await servers.refusal("long_classifier", "/classify", input=text, explain=True)
    assert param == "explain.max_words"
    assert str(MAX_TOKENS) in message
    assert "an `explain.max_words` below 64" in message
    body = await servers.ask("long_classifier", "/classify", input=text, explain={"max_words": 5})
    words = body["data"][0]["explanation"]["words"]
    assert [word["text"].count("cat") for word in words] == [2000, 2000, 2000, 2000, 1999]
    assert words[-1]["weight"] == pytest.approx(good(1) - good(0), abs=1e-6)
    assert body["usage"]["prompt_tokens"] == 10_002 * 6 - 10_000 <= MAX_TOKENS


async def test_many_texts_are_refused_by_the_limit_too(servers: Servers) -> None:
    message, param = await servers.refusal("classifier", "/classify", input=["good " * 14] * 400, explain=True)
    assert param == "explain.max_words"
    assert "Send fewer texts" in message


@pytest.mark.parametrize(
    ("explain", "param"),
    [
        ({"label": "ugly"}, "explain.label"),
        ({"top": 0}, "explain.top"),
        ({"max_words": 0}, "explain.max_words"),
        ({"max_words": 1025}, "explain.max_words"),
        ({"words": 3}, "explain"),
        ("perhaps", "explain"),
        ([], "explain"),
    ],
)
async def test_a_wish_that_cannot_be_is_refused_by_its_field(servers: Servers, explain: Any, param: str) -> None:
    message, named = await servers.refusal("classifier", "/classify", input="good", explain=explain)
    assert named == param
    if param == "explain.label":
        assert message == "This model has no label 'ugly'; its labels are 'good', 'bad'."


async def test_token_ids_have_no_words(servers: Servers) -> None:
    message, param = await servers.refusal("classifier", "/classify", input=[GOOD, GOOD], explain=True)
    assert (message, param) == ("Token ids have no places in a text; give texts", "explain")


async def test_a_text_that_is_too_long_is_refused_or_cut_as_without_reasons(servers: Servers) -> None:
    message, param = await servers.refusal("classifier", "/classify", input="bad " * 15, explain=True)
    assert (message[:48], param) == ("This model's maximum context length is 16 tokens", "input")
    body = await servers.ask("classifier", "/classify", input="bad " * 15, explain=True, truncate_prompt_tokens=-1)
    assert len(body["data"][0]["explanation"]["words"]) == 14
