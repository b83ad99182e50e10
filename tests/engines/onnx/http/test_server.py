"""The HTTP side: vLLM's answers, its errors for what cannot be answered, and clients that leave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import onnxruntime  # type: ignore[import-untyped]
import pytest

from engines.onnx.model.model import Model
from engines.onnx.model.tasks import Rows
from tests.engines.onnx.running_server import Held, Running, serving
from tests.engines.onnx.tiny import BAD, CLS, GOOD, SEP
from tests.kit.eventually import PATIENCE
from tests.kit.leaks import nothing_left
from tests.kit.wire import Response

HALF = b"POST /classify HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"
USAGE = {"completion_tokens": 0, "prompt_tokens_details": None, "completion_tokens_details": None}


@pytest.fixture
async def server(classifier: Model) -> AsyncIterator[Running]:
    async with serving(classifier) as running:
        yield running


@pytest.fixture
async def embedding(embedder: Model) -> AsyncIterator[Running]:
    async with serving(embedder) as running:
        yield running


def error(answer: Response) -> dict[str, Any]:
    """Check an error's envelope and give what is inside."""
    assert answer.header("content-type") == "application/json"
    inside: dict[str, Any] = answer.json["error"]
    assert list(inside) == ["message", "type", "param", "code"]
    assert inside["code"] == answer.status
    return inside


def refused(message: str, param: str | None = None) -> dict[str, Any]:
    return {"message": message, "type": "BadRequestError", "param": param, "code": 400}


async def test_a_text_is_classified(server: Running) -> None:
    answer = await server.ask("POST", "/classify", {"model": "m", "input": "good good bad"}, x_request_id="abc")
    assert answer.status == 200
    assert answer.header("content-type") == "application/json"
    body = answer.json
    assert body.pop("created") > 1.7e9
    assert body.pop("data") == [
        {"index": 0, "label": "good", "probs": pytest.approx([0.880797, 0.119203]), "num_classes": 2}
    ]
    assert body == {
        "id": "classify-abc",
        "object": "list",
        "model": "m",
        "usage": USAGE | {"prompt_tokens": 5, "total_tokens": 5},
    }


async def test_several_texts_are_classified_in_their_order(server: Running) -> None:
    answer = await server.ask("POST", "/classify", {"input": ["bad", "good", "bad bad"]})
    assert [(item["index"], item["label"]) for item in answer.json["data"]] == [(0, "bad"), (1, "good"), (2, "bad")]
    assert answer.json["usage"]["prompt_tokens"] == 10


async def test_texts_may_come_as_token_ids(server: Running) -> None:
    as_ids = await server.ask("POST", "/classify", {"input": [[CLS, GOOD, SEP], [CLS, BAD, BAD, SEP]]})
    as_texts = await server.ask("POST", "/classify", {"input": ["good", "bad bad"]})
    assert as_ids.json["data"] == as_texts.json["data"]


async def test_a_text_is_embedded(embedding: Running) -> None:
    answer = await embedding.ask(
        "POST", "/v1/embeddings", {"model": "m", "input": "cat", "add_special_tokens": False, "request_id": "abc"}
    )
    body = answer.json
    assert body.pop("created") > 1.7e9
    assert body.pop("data") == [{"index": 0, "object": "embedding", "embedding": pytest.approx([0, 0.6, 0.8])}]
    assert body == {
        "id": "embd-abc",
        "object": "list",
        "model": "m",
        "usage": USAGE | {"prompt_tokens": 1, "total_tokens": 1},
    }


async def test_a_large_request_is_answered_like_many_small_ones(embedding: Running) -> None:
    texts = [" ".join(["cat", "dog", "good"][: 1 + index % 3]) for index in range(1000)]
    large = await embedding.ask("POST", "/v1/embeddings", {"input": texts})
    for index in range(3):
        (item,) = (await embedding.ask("POST", "/v1/embeddings", {"input": texts[index]})).json["data"]
        alike = [each["embedding"] for each in large.json["data"][index::3]]
        assert alike == [pytest.approx(item["embedding"], abs=1e-6)] * len(alike)


async def test_requests_side_by_side_get_their_own_answers(server: Running) -> None:
    texts = [" ".join(["good"] * (1 + index % 5) + ["bad"] * (index % 7)) for index in range(100)]
    asked = [server.ask("POST", "/classify", {"input": text, "use_activation": False}) for text in texts]
    answers = await asyncio.gather(*asked)
    for text, answer in zip(texts, answers, strict=True):
        assert answer.json["data"][0]["probs"] == [2 * text.count("good"), 2 * text.count("bad")]


async def test_an_id_is_made_where_none_is_given(server: Running) -> None:
    ids = {(await server.ask("POST", "/classify", {"input": "good"})).json["id"] for _ in range(2)}
    assert len(ids) == 2
    assert all(name.startswith("classify-") for name in ids)


async def test_a_request_id_of_any_bytes_is_answered(server: Running) -> None:
    async with await server.wire() as wire:
        await wire.send(
            b"POST /classify HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
            b"x-request-id: \xff\xfe\r\ncontent-length: 17\r\n\r\n" + b'{"input": "good"}'
        )
        answer = await wire.response()
    assert answer.status == 200
    assert answer.json["id"].startswith("classify-")


async def test_an_empty_text_is_classified_by_its_special_tokens(server: Running) -> None:
    answer = await server.ask("POST", "/classify", {"input": ""})
    assert (answer.status, answer.json["usage"]["prompt_tokens"]) == (200, 2)


@pytest.mark.parametrize(
    ("fields", "message", "param"),
    [
        ({"input": []}, "You must pass at least one prompt", "input"),
        ({"input": "", "add_special_tokens": False}, "The prompt cannot be empty", "input"),
        ({"input": ["good", 5]}, "Expected `str` like the first input, got `int`", "input[1]"),
        ({"input": None}, "Expected `str | array`, got `null` - at `$.input`", "input"),
        ({}, "Object missing required field `input`", None),
        (
            {"input": "good", "normalize": True},
            "Parameter `normalize` was removed; use `use_activation` instead.",
            "normalize",
        ),
        (
            {"input": ["good", "good " * 15]},
            "This model's maximum context length is 16 tokens. However, your prompt contains 17 input tokens, which "
            "exceeds this limit even without any output tokens. Please reduce the length of the input prompt.",
            "input[1]",
        ),
        (
            {"input": "good", "truncate_prompt_tokens": 17},
            "truncate_prompt_tokens=17 cannot be greater than max_model_len = 16. Please request a smaller "
            "truncation size.",
            "truncate_prompt_tokens",
        ),
    ],
)
async def test_what_cannot_be_answered_is_refused_with_the_reason(
    server: Running, fields: dict[str, Any], message: str, param: str | None
) -> None:
    assert error(await server.ask("POST", "/classify", fields)) == refused(message, param)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"input": "\xff"}', rb'{"input": "\ud800"}', b'{"input": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"],
)
async def test_broken_json_is_refused_and_the_connection_stays(server: Running, body: bytes) -> None:
    async with await server.wire() as wire:
        await wire.request("POST", "/classify", body)
        assert error(await wire.response())["type"] == "BadRequestError"
        await wire.request("POST", "/classify", {"input": "good"})
        assert (await wire.response()).status == 200


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=a", "application/x-www-form-urlencoded"])
async def test_only_json_is_taken(server: Running, kind: str) -> None:
    answer = await server.ask("POST", "/classify", b'{"input": "good"}', content_type=kind)
    assert error(answer) == refused("Unsupported Media Type: Only 'application/json' is allowed")


async def test_jsons_media_type_may_name_its_charset(server: Running) -> None:
    answer = await server.ask("POST", "/classify", b'{"input": "good"}', content_type="Application/JSON; charset=utf-8")
    assert answer.status == 200


@pytest.mark.parametrize(
    ("path", "fields"),
    [("/classify", {"input": "good"}), ("/tokenize", {"prompt": "good"}), ("/detokenize", {"tokens": [1]})],
)
async def test_another_models_name_is_not_found(server: Running, path: str, fields: dict[str, Any]) -> None:
    answer = await server.ask("POST", path, fields | {"model": "other"})
    assert answer.status == 404
    assert error(answer) == {
        "message": "The model `other` does not exist. Valid aliases: m.",
        "type": "NotFoundError",
        "param": "model",
        "code": 404,
    }


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/chat/completions", "/", "/classify/"])
async def test_what_is_not_served_is_not_found(server: Running, path: str) -> None:
    answer = await server.ask("POST", path, {"input": "good"})
    assert error(answer) == {"message": "Not Found", "type": "Not Found", "param": None, "code": 404}
    endpoint = path if path == "/v1/embeddings" else "unknown"
    assert await server.metric(f'requests_total{{code="404",endpoint="{endpoint}",model="m"}}') == 1


async def test_a_wrong_method_is_told_the_right_one(server: Running) -> None:
    answer = await server.ask("GET", "/classify")
    assert answer.header("allow") == "POST"
    assert error(answer) == {
        "message": "Method Not Allowed",
        "type": "Method Not Allowed",
        "param": None,
        "code": 405,
    }


async def test_a_body_beyond_the_limit_is_refused(classifier: Model) -> None:
    async with serving(classifier, max_body_bytes=1000) as server:
        answer = await server.ask("POST", "/classify", {"input": "good " * 200})
        assert error(answer) == {
            "message": "Maximum request body size 1000 exceeded.",
            "type": "Request Entity Too Large",
            "param": None,
            "code": 413,
        }
        assert (await server.ask("GET", "/health")).status == 200


async def test_tokenize_gives_ids_and_strings_when_asked_to(server: Running) -> None:
    plain = await server.ask("POST", "/tokenize", {"prompt": "Good cat"})
    assert plain.json == {"count": 4, "max_model_len": 16, "tokens": [2, 4, 6, 3], "token_strs": None}
    named = await server.ask(
        "POST", "/tokenize", {"prompt": "cat", "add_special_tokens": False, "return_token_strs": True}
    )
    assert named.json == {"count": 1, "max_model_len": 16, "tokens": [6], "token_strs": ["cat"]}


async def test_a_long_prompt_is_tokenized_beyond_the_models_limit(server: Running) -> None:
    answer = await server.ask("POST", "/tokenize", {"prompt": "cat " * 5000})
    assert answer.json["count"] == 5002


async def test_detokenize_gives_the_text_back(server: Running) -> None:
    assert (await server.ask("POST", "/detokenize", {"tokens": [4, 6]})).json == {"prompt": "good cat"}
    answer = await server.ask("POST", "/detokenize", {"tokens": [4, 99]})
    assert error(answer) == refused("Token id 99 is out of vocabulary, which has 10 tokens", "tokens")


@pytest.mark.parametrize(
    ("path", "strict", "lax"),
    [
        ("/tokenize", {"prompt": "good", "add_special_tokens": False}, {"prompt": "good", "add_special_tokens": "no"}),
        ("/tokenize", {"prompt": "good"}, {"prompt": "good", "add_special_tokens": None, "return_token_strs": 0}),
        ("/detokenize", {"tokens": [GOOD, BAD]}, {"tokens": [float(GOOD), str(BAD)]}),
    ],
)
async def test_tokens_are_asked_for_as_leniently_as_everything(
    server: Running, path: str, strict: dict[str, Any], lax: dict[str, Any]
) -> None:
    expected = (await server.ask("POST", path, strict)).json
    assert (await server.ask("POST", path, lax)).json == expected
    marked = b"\xef\xbb\xbf" + json.dumps(strict).encode()
    assert (await server.ask("POST", path, marked)).json == expected
    assert (await server.ask("POST", path, marked.replace(b'"', b'"\xff', 1))).status == 400


async def test_the_model_is_listed_with_its_longest_text(server: Running) -> None:
    (card,) = (await server.ask("GET", "/v1/models")).json["data"]
    assert (card["id"], card["object"], card["max_model_len"]) == ("m", "model", 16)
    assert len(card["permission"]) == 1


@pytest.mark.parametrize(("method", "path"), [("GET", "/health"), ("GET", "/ping"), ("POST", "/ping")])
async def test_health_is_an_empty_200(server: Running, method: str, path: str) -> None:
    answer = await server.ask(method, path)
    assert (answer.status, answer.body) == (200, b"")


async def test_the_version_is_onnx_runtimes(server: Running) -> None:
    assert (await server.ask("GET", "/version")).json == {"version": onnxruntime.__version__}


async def test_metrics_count_answers_and_tokens(server: Running) -> None:
    await server.ask("POST", "/classify", {"input": ["good", "bad bad"]})
    await server.ask("POST", "/classify", {"input": []})
    assert await server.metric('requests_total{code="200",endpoint="/classify",model="m"}') == 1
    assert await server.metric('requests_total{code="400",endpoint="/classify",model="m"}') == 1
    assert await server.metric('tokens_total{kind="real",model="m"}') == 7
    assert await server.metric('waiting_tokens{model="m"}') == 0


async def test_a_scraper_gets_its_format(server: Running) -> None:
    answer = await server.ask("GET", "/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert (answer.header("content-type") or "").startswith("application/openmetrics-text")
    assert answer.body.endswith(b"# EOF\n")


async def test_a_text_that_fails_in_the_graph_is_told_and_the_next_is_answered(
    server: Running, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await server.ask("POST", "/classify", {"input": "poison"})
    failed = error(answer)
    assert (answer.status, failed["type"]) == (500, "InternalServerError")
    assert failed["message"].startswith("ONNX Runtime failed on a batch of 1 x 3: ")
    assert "POST /classify: ONNX Runtime failed" in caplog.text
    assert (await server.ask("POST", "/classify", {"input": "good"})).status == 200


async def test_texts_beside_one_that_fails_are_answered(classifier: Model) -> None:
    held = Held(classifier)
    async with serving(classifier, compute=held) as server:
        first = asyncio.create_task(server.ask("POST", "/classify", {"input": "good"}))
        await server.until("1 of 1 threads running")
        others = [
            asyncio.create_task(server.ask("POST", "/classify", {"input": text})) for text in ("bad", "poison", "good")
        ]
        await server.until("3 texts, 9 tokens waiting")
        held.release()
        assert [answer.status for answer in await asyncio.gather(first, *others)] == [200, 200, 500, 200]


async def test_an_error_that_nobody_foresaw_is_told_without_its_details(
    classifier: Model, caplog: pytest.LogCaptureFixture
) -> None:
    def compute(_: object) -> Rows:
        raise ZeroDivisionError("secret")

    async with serving(classifier, compute=compute) as server:
        answer = await server.ask("POST", "/classify", {"input": "good"})
    assert error(answer) == {
        "message": "The engine failed on this request; its log says why.",
        "type": "InternalServerError",
        "param": None,
        "code": 500,
    }
    assert "ZeroDivisionError: secret" in caplog.text


async def test_a_full_queue_is_told_with_the_time_to_come_back(classifier: Model) -> None:
    held = Held(classifier)
    async with serving(classifier, compute=held, room=10) as server:
        first = asyncio.create_task(server.ask("POST", "/classify", {"input": "good"}))
        await server.until("1 of 1 threads running")
        second = asyncio.create_task(server.ask("POST", "/classify", {"input": "good " * 8}))
        await server.until("1 texts, 10 tokens waiting")
        answer = await server.ask("POST", "/classify", {"input": "good"})
        assert answer.status == 503
        assert answer.header("retry-after") == "1"
        assert error(answer)["type"] == "ServiceUnavailableError"
        assert error(answer)["message"].startswith("The queue is full: 10 tokens wait, at most 10 may.")
        assert (await server.ask("POST", "/classify", b"not even read")).status == 503
        assert (await server.ask("GET", "/health")).status == 200
        held.release()
        assert [(await task).status for task in (first, second)] == [200, 200]


async def test_a_request_says_how_long_it_may_take(classifier: Model) -> None:
    held = Held(classifier)
    async with serving(classifier, compute=held) as server:
        first = asyncio.create_task(server.ask("POST", "/classify", {"input": "good"}))
        await server.until("1 of 1 threads running")
        late = await server.ask("POST", "/classify", {"input": "good"}, x_request_timeout_ms="20")
        assert (late.status, late.header("retry-after")) == (503, "1")
        assert error(late)["message"] == "The request could not be done within its 0.02 s."
        assert await server.metric('dropped_texts_total{model="m"}') == 1
        held.release()
        assert (await first).status == 200
        in_time = await server.ask("POST", "/classify", {"input": "good"}, x_request_timeout_ms="10000")
        assert in_time.status == 200


@pytest.mark.parametrize("given", ["0", "-5", "1.5", "soon", "", "86400001"])
async def test_a_timeout_that_is_no_number_of_milliseconds_is_refused(server: Running, given: str) -> None:
    answer = await server.ask("POST", "/classify", {"input": "good"}, x_request_timeout_ms=given)
    message = "x-request-timeout-ms must be a number of milliseconds from 1 to 86400000"
    assert error(answer) == refused(message, "x-request-timeout-ms")


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/classify", {"input": "cat " * 2_500_000}),
        ("/classify", {"input": ["good", "x" * 10_000_000]}),
        ("/pooling", {"input": "\n" * 10_000_000}),
        ("/v1/moderations", {"input": "cat " * 2_500_000}),
    ],
)
async def test_ten_megabytes_are_refused_or_cut(moderator: Model, path: str, fields: dict[str, Any]) -> None:
    async with serving(moderator) as server:
        answer = await server.ask("POST", path, fields)
        assert error(answer)["message"].startswith("This model's maximum context length is 16 tokens")
        cut = await server.ask("POST", path, fields | {"truncate_prompt_tokens": -1})
        assert cut.status == 200


@pytest.mark.parametrize("text", ["", " ", "\0", "\x01\x02\x7f", "\u202e\ufeff", "\U0010ffff"])
async def test_a_text_of_anything_is_answered(server: Running, text: str) -> None:
    assert (await server.ask("POST", "/classify", {"input": text})).status == 200


async def test_a_client_that_leaves_takes_its_waiting_texts_along(classifier: Model) -> None:
    held = Held(classifier)
    async with nothing_left(), serving(classifier, compute=held) as server:
        first = asyncio.create_task(server.ask("POST", "/classify", {"input": "good"}))
        await server.until("1 of 1 threads running")
        async with await server.wire() as leaving:
            await leaving.request("POST", "/classify", {"input": ["good", "bad"]})
            await server.until("2 texts, 6 tokens waiting")
            leaving.abort()
            await server.until("0 texts, 0 tokens waiting")
        assert await server.metric('dropped_texts_total{model="m"}') == 2
        assert await server.metric('requests_total{code="499",endpoint="/classify",model="m"}') == 1
        held.release()
        assert (await first).status == 200


async def test_half_a_request_keeps_nobody_waiting(server: Running) -> None:
    async with await server.wire() as half:
        await half.send(HALF)
        assert (await server.ask("POST", "/classify", {"input": "good"})).status == 200


async def test_a_client_that_leaves_in_the_middle_of_its_request_is_no_failure_of_ours(
    server: Running, caplog: pytest.LogCaptureFixture
) -> None:
    async with await server.wire() as half:
        await half.send(HALF)
        await server.ask("GET", "/health")
        half.abort()
    async with asyncio.timeout(PATIENCE):
        while not await server.metric('requests_total{code="499",endpoint="/classify",model="m"}'):
            assert await server.metric('requests_total{code="500",endpoint="/classify",model="m"}') == 0
    assert caplog.text == ""


async def test_stopping_finishes_what_runs_and_what_waits(classifier: Model) -> None:
    held = Held(classifier)
    async with serving(classifier, compute=held) as server:
        asked = [asyncio.create_task(server.ask("POST", "/classify", {"input": "good"})) for _ in range(3)]
        await server.until("2 texts, 6 tokens waiting")
    assert [(await task).status for task in asked] == [200, 200, 200]


async def test_answers_are_json_that_any_reader_takes(server: Running) -> None:
    answer = await server.ask("POST", "/classify", {"input": "good"}, x_request_id='a"b\\c')
    assert json.loads(answer.body)["id"] == 'classify-a"b\\c'
