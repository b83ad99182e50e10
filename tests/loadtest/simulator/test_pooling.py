"""The endpoints of models that do not generate."""

import base64
import math
import struct
from typing import Any

import pytest

from loadtest.simulator import SimulatedEngine
from tests.kit.wire import Response, Wire


async def ask(wire: Wire, path: str, **fields: Any) -> Response:
    await wire.request("POST", path, {"model": "sim"} | fields, {"x-request-id": "r"})
    return await wire.response()


async def test_embeddings_are_unit_vectors_of_the_text_alone(wire: Wire) -> None:
    one = (await ask(wire, "/v1/embeddings", input=["abcd", "efghi"])).json
    again = (await ask(wire, "/v1/embeddings", input="efghi")).json
    assert (one["id"], one["object"], one["model"]) == ("embd-r", "list", "sim")
    assert [(each["index"], each["object"]) for each in one["data"]] == [(0, "embedding"), (1, "embedding")]
    assert one["data"][1]["embedding"] == again["data"][0]["embedding"]
    assert math.hypot(*one["data"][0]["embedding"]) == pytest.approx(1)
    assert (one["usage"]["prompt_tokens"], one["usage"]["completion_tokens"]) == (3, 0)


async def test_embeddings_can_be_base64_of_floats(wire: Wire) -> None:
    plain = (await ask(wire, "/v1/embeddings", input="a", dimensions=4)).json["data"][0]["embedding"]
    packed = (await ask(wire, "/v1/embeddings", input="a", dimensions=4, encoding_format="base64")).json
    assert struct.unpack("<4f", base64.b64decode(packed["data"][0]["embedding"])) == pytest.approx(plain)
    assert (await ask(wire, "/v1/embeddings", input="a", encoding_format="morse")).status == 400


async def test_classes_have_probabilities(wire: Wire) -> None:
    answer = (await ask(wire, "/classify", input=["a", "b"])).json
    assert answer["id"] == "classify-r"
    for index, each in enumerate(answer["data"]):
        assert each["index"] == index
        assert each["num_classes"] == len(each["probs"]) == 2
        assert sum(each["probs"]) == pytest.approx(1)
        assert each["label"] == f"LABEL_{each['probs'].index(max(each['probs']))}"


async def test_pooling_takes_conversations_too(wire: Wire) -> None:
    answer = (await ask(wire, "/pooling", messages=[{"role": "user", "content": "hi"}])).json
    assert answer["data"][0]["object"] == "pooling"
    assert len(answer["data"][0]["data"]) == 8
    assert answer["usage"]["prompt_tokens"] == 8


@pytest.mark.parametrize("path", ["/score", "/v1/score"])
@pytest.mark.parametrize(
    ("left", "right"), [("text_1", "text_2"), ("data_1", "data_2"), ("queries", "documents"), ("queries", "items")]
)
async def test_scores_of_one_against_many(wire: Wire, path: str, left: str, right: str) -> None:
    answer = (await ask(wire, path, **{left: "a", right: ["a", "b"]})).json
    assert [each["object"] for each in answer["data"]] == ["score", "score"]
    assert answer["data"][0]["score"] == pytest.approx(1)
    assert answer["data"][1]["score"] < 1


async def test_scores_of_many_against_many_need_as_many(wire: Wire) -> None:
    assert len((await ask(wire, "/score", text_1=["a", "b"], text_2=["a", "b"])).json["data"]) == 2
    refused = await ask(wire, "/score", text_1=["a", "b"], text_2=["a", "b", "c"])
    assert (refused.status, refused.json["error"]["type"]) == (400, "BadRequestError")


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
async def test_reranking_puts_the_most_similar_first(wire: Wire, path: str) -> None:
    answer = (await ask(wire, path, query="b", documents=["a", "b", "c"], top_n=2)).json
    assert (answer["id"], answer["model"]) == ("rerank-r", "sim")
    assert len(answer["results"]) == 2
    assert answer["results"][0]["index"] == 1
    assert answer["results"][0]["document"] == {"text": "b", "multi_modal": None}
    assert answer["results"][0]["relevance_score"] > answer["results"][1]["relevance_score"]


async def test_an_input_must_be_there(wire: Wire) -> None:
    assert (await ask(wire, "/classify")).json["error"]["param"] == "body.input"


@pytest.mark.parametrize("size", [0, -1])
async def test_vectors_of_no_dimension_are_refused(wire: Wire, size: int) -> None:
    answer = await ask(wire, "/v1/embeddings", input="a", dimensions=size)
    assert (answer.status, answer.json["error"]["message"]) == (400, "Dimensions must be greater than 0")


@pytest.mark.parametrize("most", [0, -1, 5])
async def test_all_documents_are_ranked_unless_fewer_are_asked_for(wire: Wire, most: int) -> None:
    assert len((await ask(wire, "/rerank", query="a", documents=["b", "c"], top_n=most)).json["results"]) == 2


async def test_a_text_that_is_longer_than_the_context_is_refused_unless_it_is_to_be_cut() -> None:
    async with SimulatedEngine(max_model_len=2) as engine, await Wire.connect_to(engine.address) as wire:
        refused = await ask(wire, "/classify", input=["a", "a" * 9])
        assert refused.status == 400
        assert "maximum context length is 2 tokens" in refused.json["error"]["message"]
        assert (await ask(wire, "/classify", input="a" * 9, truncate_prompt_tokens=-1)).status == 200
