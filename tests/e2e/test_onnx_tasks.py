"""Every task of the ONNX engine through the gateway, asked by the OpenAI SDK and by hand: tiny graphs, all real."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.e2e.conftest import HANGING_SECONDS, Served, serving
from tests.engines.onnx.tiny import write_classifier, write_cross_encoder, write_embedder, write_token_classifier

pytestmark = pytest.mark.slow

CONFIG = """\
[models.classifier]
engine = "onnx"
source = "./classifier"
tasks = ["classify"]
moderation = { hate = ["bad"], x-praise = ["good"] }
moderation_threshold = 0.7
golden = { text = "good", answer = [0.880797, 0.119203] }

[models.embedder]
engine = "onnx"
source = "./embedder"
tasks = ["embed"]

[models.ranker]
engine = "onnx"
source = "./ranker"
tasks = ["score"]

[models.tagger]
engine = "onnx"
source = "./tagger"
tasks = ["token_classify"]

[models.broken]
engine = "onnx"
source = "./broken"
tasks = ["classify"]
golden = { text = "good", answer = [0.5, 0.5] }
required = false
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve one tiny model of each kind, and one that does not answer what was recorded."""
    folder = tmp_path_factory.mktemp("tiny")
    writers = {
        "classifier": write_classifier,
        "embedder": write_embedder,
        "ranker": write_cross_encoder,
        "tagger": write_token_classifier,
        "broken": write_classifier,
    }
    for name, write in writers.items():
        (folder / name).mkdir()
        write(folder / name)
    config = folder / "models.toml"
    config.write_text(CONFIG)
    with serving(config) as running:
        yield running


@pytest.fixture
def client(tiny: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{tiny.address}/v1", api_key="unused", max_retries=0) as client:
        yield client


def ask(tiny: Served, path: str, **fields: Any) -> httpx.Response:
    return httpx.post(f"{tiny.address}{path}", json=fields, timeout=HANGING_SECONDS)


def test_embeddings_as_floats_and_base64(client: openai.OpenAI) -> None:
    floats = client.embeddings.create(model="embedder", input=["cat", "dog"], encoding_format="float")
    assert [len(item.embedding) for item in floats.data] == [3, 3]
    assert floats.usage.prompt_tokens == 6
    # The SDK asks for base64 by itself and unpacks it.
    packed = client.embeddings.create(model="embedder", input=["cat", "dog"])
    assert packed.data[1].embedding == pytest.approx(floats.data[1].embedding, abs=1e-6)
    raw = client.embeddings.with_raw_response.create(model="embedder", input=[6], encoding_format="base64")
    coded = json.loads(raw.text)["data"][0]["embedding"]
    assert struct.unpack("<3f", base64.b64decode(coded)) == pytest.approx((0, 0.6, 0.8))


def test_moderations(client: openai.OpenAI) -> None:
    answer = client.moderations.create(model="classifier", input=["bad", "cat"])
    bad, neutral = answer.results
    assert (bad.flagged, neutral.flagged) == (True, False)
    assert bad.categories.hate is True
    assert bad.category_scores.hate == pytest.approx(0.880797)
    assert bad.category_applied_input_types.hate == ["text"]
    # What nobody judged is told as OpenAI tells it.
    assert bad.categories.violence is False
    assert bad.categories.sexual_minors is False
    assert bad.category_scores.violence == 0
    assert bad.category_applied_input_types.violence == []
    assert openai.types.Moderation.model_validate(bad.to_dict(), strict=True).flagged


def test_errors_of_both_become_the_sdks_exceptions(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as unable:
        client.moderations.create(model="embedder", input="bad")
    assert "these can: classifier" in unable.value.message
    with pytest.raises(openai.BadRequestError) as unable:
        client.embeddings.create(model="classifier", input="bad")
    assert "these can: embedder" in unable.value.message
    with pytest.raises(openai.BadRequestError) as too_long:
        client.embeddings.create(model="embedder", input=["cat", "cat " * 50])
    assert too_long.value.param == "input[1]"


def test_each_model_answers_where_its_task_allows(tiny: Served) -> None:
    pairs = {"query": "good", "documents": ["bad", "good"]}
    for path in ("/rerank", "/v1/rerank", "/v2/rerank"):
        assert ask(tiny, path, model="ranker", **pairs).json()["results"][0]["index"] == 1
        assert ask(tiny, path, model="embedder", **pairs).status_code == 200
    for path in ("/score", "/v1/score"):
        assert len(ask(tiny, path, model="ranker", text_1="good", text_2=["bad", "good"]).json()["data"]) == 2
    for model in ("classifier", "embedder", "ranker", "tagger"):
        assert ask(tiny, "/pooling", model=model, input="cat").status_code == 200
    for model in ("classifier", "ranker"):
        assert ask(tiny, "/classify", model=model, input="good").json()["data"][0]["probs"][0] > 0.5
    each_token = ask(tiny, "/pooling", model="embedder", input="cat", task="token_embed").json()["data"][0]["data"]
    assert [len(vector) for vector in each_token] == [3, 3, 3]
    spans = ask(tiny, "/pooling", model="tagger", input="a cat", return_spans=True).json()["data"][0]["spans"]
    assert [(span["label"], span["start"], span["end"]) for span in spans] == [("PET", 2, 5)]
    for model in ("classifier", "embedder", "ranker", "tagger"):
        assert ask(tiny, "/tokenize", model=model, prompt="cat").json()["tokens"] == [2, 6, 3]
        assert ask(tiny, "/detokenize", model=model, tokens=[6]).json() == {"prompt": "cat"}


@pytest.mark.parametrize(
    ("path", "model", "able"),
    [
        ("/classify", "embedder", "classifier, ranker, broken"),
        ("/v1/embeddings", "ranker", "embedder"),
        ("/score", "classifier", "embedder, ranker"),
        ("/rerank", "tagger", "embedder, ranker"),
        ("/v1/moderations", "tagger", "classifier"),
    ],
)
def test_a_model_that_cannot_is_refused_with_those_that_can(tiny: Served, path: str, model: str, able: str) -> None:
    answer = ask(tiny, path, model=model, input="cat")
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["message"] == f"The model {model!r} does not support {path}; these can: {able}."


def test_a_model_that_fails_its_golden_input_is_refused_and_the_others_serve(tiny: Served) -> None:
    assert ask(tiny, "/classify", model="broken", input="good").status_code == 503
    assert "the golden input 'good' is answered [0.880797, 0.119203], not [0.5, 0.5] as recorded" in tiny.panel
